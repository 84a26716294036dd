//! Injection by a BPF test run: four instructions that redirect a packet to the ingress of an
//! interface. They are attached to nothing, and are gone when their descriptor is closed.
//!
//! The packet passes generic XDP, tc ingress, the netdev and inet ingress hooks and the IPv6 stack,
//! as if it had arrived there. This is the only file that calls bpf(2).

use std::mem::offset_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;

/// `BPF_PROG_LOAD` and `BPF_PROG_TEST_RUN` (linux/bpf.h, `enum bpf_cmd`).
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;

/// `BPF_PROG_TYPE_SCHED_CLS`.
const SCHED_CLS: u32 = 3;

/// `BPF_FUNC_clone_redirect`, and its flag `BPF_F_INGRESS`.
const CLONE_REDIRECT: u32 = 13;
const INGRESS: u32 = 1;

/// `BPF_ALU64 | BPF_MOV | BPF_K`, `BPF_JMP | BPF_CALL`, `BPF_JMP | BPF_EXIT`.
const MOVE: u8 = 0xb7;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// The helper needs no licence in particular; this is ours.
const LICENCE: &std::ffi::CStr = c"Apache-2.0";

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that runs it once.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

// The offsets of linux/bpf.h, the same on every architecture: `__aligned_u64` says so there.
const _: () = {
    assert!(offset_of!(Load, code) == 8 && offset_of!(Load, licence) == 16);
    assert!(offset_of!(Load, log) == 32 && size_of::<Load>() == 48);
    assert!(offset_of!(TestRun, data_in) == 16 && offset_of!(TestRun, repeat) == 32);
    assert!(size_of::<TestRun>() == 40);
};

/// `struct bpf_insn`: operation, registers, offset, value.
fn instruction(operation: u8, register: u8, value: u32) -> [u8; 8] {
    // The destination's number is the first bit-field of its byte.
    let registers = match cfg!(target_endian = "little") {
        true => register,
        false => register << 4,
    };
    let [a, b, c, d] = value.to_ne_bytes();
    [operation, registers, 0, 0, a, b, c, d]
}

/// Sends `frame` into the ingress of the interface of this index, in the network namespace of the
/// caller. When this returns, the packet has passed the stack, unless a busy processor puts that
/// off.
///
/// # Errors
/// `EPERM` without CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN; `EINVAL` in a kernel without test
/// runs (before 4.12); what the redirection failed with, such as `ENETDOWN`.
pub(super) fn inject(index: u32, frame: &[u8]) -> Result<(), Errno> {
    let code = [
        instruction(MOVE, 2, index),
        instruction(MOVE, 3, INGRESS),
        instruction(CALL, 0, CLONE_REDIRECT),
        instruction(EXIT, 0, 0),
    ];
    let mut load = Load {
        kind: SCHED_CLS,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        licence: LICENCE.as_ptr() as u64,
        ..Load::default()
    };
    let program = open(bpf(PROG_LOAD, &mut load)?);
    let mut run = TestRun {
        program: program.as_raw_fd() as u32,
        size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    bpf(PROG_TEST_RUN, &mut run)?;
    match run.returned.cast_signed() {
        0.. => Ok(()),
        code @ -4095..0 => Err(Errno::from_raw_os_error(-code)),
        _ => Err(Errno::IO),
    }
}

/// Calls bpf(2), which takes the first bytes of the union and zeros for the rest.
#[allow(unsafe_code)]
fn bpf<T>(command: libc::c_long, attributes: &mut T) -> Result<RawFd, Errno> {
    let size = std::mem::size_of::<T>();
    // SAFETY: the attributes are plain numbers laid out as linux/bpf.h has them, and `size` is
    // theirs. What their addresses point to (the code, the licence, the frame) is alive during the
    // call and only read; the kernel writes nothing but the attributes themselves.
    let returned = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *mut T, size) };
    match RawFd::try_from(returned) {
        Ok(descriptor @ 0..) => Ok(descriptor),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[allow(unsafe_code)]
fn open(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made it for this call, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_lies_as_the_kernel_reads_it() {
        let moved = instruction(MOVE, 2, 7);
        assert_eq!(moved[..2], [0xb7, 0x02], "little-endian machines");
        assert_eq!(moved[4..], 7_u32.to_ne_bytes());
        assert_eq!(std::mem::size_of::<Load>(), 48);
        assert_eq!(std::mem::size_of::<TestRun>(), 40);
    }
}
