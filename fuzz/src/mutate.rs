//! Changing inputs, decided by a seed alone.

/// Longest input.
const BYTES_MAX: usize = 1 << 14;
/// Inputs that are kept beyond those given.
const KEPT_MAX: usize = 4_096;
/// Bytes that mean something in varints and lengths.
const TELLING: [u8; 10] = [0, 1, 2, 0x1f, 0x20, 0x7f, 0x80, 0x81, 0xfe, 0xff];

/// Numbers that only a seed decides (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `end`; 0 when there is nothing below.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }
}

/// Gives the inputs of a corpus, then changed ones.
#[derive(Clone, Debug)]
pub struct Mutator {
    random: Random,
    inputs: Vec<Vec<u8>>,
    given: usize,
    next: usize,
}

impl Mutator {
    /// From a corpus; of an empty one everything grows from nothing.
    #[must_use]
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        let given = corpus.len();
        Self {
            random: Random::new(seed),
            inputs: corpus,
            given,
            next: 0,
        }
    }

    /// Changes this one further from now on.
    pub fn keep(&mut self, input: Vec<u8>) {
        if self.next < self.given {
            return;
        }
        if self.inputs.len() < self.given + KEPT_MAX {
            self.inputs.push(input);
        } else {
            let at = self.given + self.random.below(KEPT_MAX);
            self.inputs[at] = input;
        }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        if let Some(input) = self.inputs.get(self.next).filter(|_| self.next < self.given) {
            self.next += 1;
            return input.clone();
        }
        let mut input = self.pick();
        for _ in 0..=self.random.below(4) {
            self.change(&mut input);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.random.below(self.inputs.len());
        self.inputs.get(at).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.below(input.len());
        if input.is_empty() {
            input.push(self.random.number() as u8);
        }
        let end = (at + 1 + self.random.below(8)).min(input.len());
        match self.random.below(10) {
            0 => input[at] = self.random.number() as u8,
            1 => input[at] ^= 1 << self.random.below(8),
            2 => input[at] = TELLING[self.random.below(TELLING.len())],
            3 => input[at] = input[at].wrapping_add(if self.random.below(2) == 0 { 1 } else { 255 }),
            4 => input.truncate(at),
            5 => drop(input.drain(at..end)),
            6 => {
                let byte = TELLING[self.random.below(TELLING.len())];
                input.insert(at, byte);
            }
            7 => {
                let part = input[at..end].to_vec();
                let to = self.random.below(input.len());
                input.splice(to..to, part);
            }
            8 => {
                let from = self.random.below(input.len());
                input[at] = input[from];
            }
            _ => {
                // The tail of another one.
                let other = self.pick();
                let from = self.random.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}
