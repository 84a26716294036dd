//! The fake kernel keeps the contract too.

use docker_nat66::backend::fake::FakeKernel;

use crate::support::contract::chains;
use crate::support::contract::kit;
use crate::support::contract::{Foreign, Kit, contract};

impl Foreign for FakeKernel {
    fn kit(&self) -> Kit {
        kit::ip6tables()
    }

    fn add(&mut self, line: &str) {
        self.edit(|lines| lines.push(line.to_owned()));
    }

    fn delete(&mut self, line: &str) {
        self.edit(|lines| {
            let at = lines.iter().position(|l| l == line).expect("is there");
            lines.remove(at);
        });
    }

    fn lines(&mut self) -> Vec<String> {
        FakeKernel::lines(self)
    }

    fn clear(&mut self) {
        self.edit(Vec::clear);
    }
}

#[test]
fn the_fake_keeps_the_contract() {
    let mut kernel = FakeKernel::new();
    contract(&mut kernel.backend(), &mut kernel, &chains::CASES);
}
