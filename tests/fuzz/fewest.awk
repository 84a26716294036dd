# Of a merge's control file (libFuzzer), names the files to keep: `most` at the most, each the one
# that adds most for its size to those before it.
NR == 1 { files = $1; next }
NR == 2 { next }
NR <= files + 2 { name[NR - 3] = $0; next }
$1 == "STARTED" { size[$2] = $3 }
$1 == "FT" { file = $2; sub(/^FT [0-9]+ ?/, ""); features[file] = $0 }
END {
    while (kept < most) {
        top = 0
        for (file in features) {
            count = split(features[file], each, " ")
            gain = 0
            for (i = 1; i <= count; i++) gain += !(each[i] in seen)
            if (gain == 0) delete features[file]
            gain /= 500 + size[file]
            if (gain > top) { top = gain; best = file }
        }
        if (top == 0) exit
        count = split(features[best], each, " ")
        for (i = 1; i <= count; i++) seen[each[i]]
        print name[best]
        kept++
    }
}
