//! Every target with a bounded number of inputs. `POINTSMAN_FUZZ_INPUTS=n` changes the number.

use pointsman_fuzz::{Mutator, fuzz, run, targets};

#[test]
fn every_target_holds() {
    let asked = std::env::var("POINTSMAN_FUZZ_INPUTS").ok();
    let inputs = asked.and_then(|inputs| inputs.parse().ok()).unwrap_or(15_000);
    for target in targets() {
        let mut last = Vec::new();
        let found = fuzz(&target, 1, |tried, input| {
            last = input.to_vec();
            tried < inputs
        });
        println!("{}: {found:?}", target.name);
        assert!(found.places > 5, "{}: the inputs come nowhere", target.name);
    }
}

/// What was found before stays found.
#[test]
fn known_inputs_hold() {
    for (name, input) in KNOWN {
        run(name, &unhex(input));
    }
}

const KNOWN: &[(&str, &str)] = &[
    // New dots that its origin claims to have seen.
    (
        "crdt-operation-message",
        "0a000202010a000200017200010301610e1803627279",
    ),
    // A tag beyond what JSON numbers carry.
    ("crdt-value", "999a8199999998d801011f"),
    // A deletion whose dot is a node of its own.
    (
        "crdt-join",
        "0d2d01700103020000c1010e01022d02380102300103030200830107010102024b0e01020e0104020442031a",
    ),
    // A deletion that comes with another place than the node has here.
    (
        "crdt-join",
        "6a2d03000103093400010200340001020400034a0e0103032a00074e070109030a00089a010701090701010310033202010143000000020108ae\
         01010701070701010320032a0401024203160401034b0e48020000000402014a0e010303020402028e010e0201031203022d0300010309340001\
         0200340001020400034a0e0103032a00074e070109030a00089a010701090701010310033202010143000000020108ae01010701070701010320\
         032a0401024203160401034b0e01020000000402014a0e010303020402028e010e020103120302",
    ),
];

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default() as u8;
    text.as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().map(digit).fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}

#[test]
fn a_seed_gives_the_same_inputs() {
    let inputs = || {
        let mut mutator = Mutator::new(7, vec![vec![1, 2, 3], vec![9]]);
        (0..200).map(|_| mutator.input()).collect::<Vec<_>>()
    };
    assert_eq!(inputs(), inputs());
}
