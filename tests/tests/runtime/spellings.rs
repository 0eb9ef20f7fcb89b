//! Spellings of a path, at random from a seed: what people have sent to get around a guard, put together in any order.

/// Small, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Gives a number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn of<'a>(&mut self, choices: &[&'a [u8]]) -> &'a [u8] {
        choices[self.below(choices.len())]
    }
}

const SLASHES: &[&[u8]] = &[
    b"//",
    b"\\",
    b"%2f",
    b"%2F",
    b"%5c",
    b"%5C",
    b"%252f",
    b"%255C",
    b"/./",
    b"/%2e/",
    b"/x/../",
    b"/x%2f..%2f",
    b"/x/%2E%2e/",
    b"/x/..;/",
    b"/;/",
    b"/;a=b/",
    b"%c0%af",
    b"%e0%80%af",
    b"\xc0\xaf",
    b"/x/..\\",
    b"%2f%2f",
    b"/%2f",
    b"/x%2fy/%2e%2e/../",
    b"%ef%bc%8f",
    b"\xe2\x88\x95",
    b"/x%2fy/..%3b/../",
    b"/%252e%252e/",
    b"/%2e%2e/",
    b"/.%2e/",
];
const ENDS: &[&[u8]] = &[
    b"/",
    b".",
    b"/.",
    b"/..",
    b"/../",
    b"/..%2fx",
    b"/%2e%2e",
    b"/..;",
    b"%20",
    b"%00",
    b"%09",
    b"%0a",
    b"%0d%0a",
    b"?",
    b"?x",
    b"#",
    b"#x",
    b"%3f",
    b"%3fx",
    b"%23",
    b"%23x",
    b";",
    b";x=y",
    b"%3b",
    b"\\",
    b"%5c",
    b".json",
    b"%",
    b"%2",
    b"%zz",
    b"\x00",
    b" ",
    b"+",
    b"~",
    b"//",
    b"/../../x",
    b"/..%2f..%2fopen%2fx",
    b"\xff",
    b"%ff",
    b"/x/../../open/..",
];
const STARTS: &[&[u8]] = &[
    b"http://host",
    b"HTTP://user:word@host:80",
    b"http://",
    b"http:",
    b"x://y",
    b"x:",
    b"ws://h",
    b"//host",
    b"/open/..",
    b"/open/../",
    b"/open/..%2f",
    b"/open%2f..",
    b"/open/..;",
    b"/open/%2e%2e",
    b"/open/%252e%252e",
    b"/.",
    b"/",
    b"//",
    b"/..",
    b"/;x",
    b"/%2e",
    b"/%20",
    b"\\",
    b"/\\",
    b"*",
    b"/?",
    b"/open/x%2fy/%2e%2e/..",
    b"http://host/open/..",
    b"http://h?",
    b"http://h#",
    b"http://h\\",
    b"file://",
    b"javascript:",
    b"/x:",
    b"/open/a/b/../../..",
];
const INSERTED: &[&[u8]] = &[
    b"%00",
    b"\x00",
    b"%09",
    b"\x0b",
    b"\x01",
    b"%0a",
    b"%e2%80%8b",
    b"\xe2\x80\x8b",
    b"%c2%ad",
    b"\x7f",
    b"\xa0",
    b"\x85",
    b"?",
    b"#",
    b"%3f",
    b"%23",
    b";",
    b"%3b",
    b"%25",
    b"%",
    b"+",
    b"%20",
    b".",
    b"..",
    b"|",
    b"{",
    b"\"",
    b"<",
    b":",
    b"@",
    b"!",
    b"'",
    b",",
    b"&",
];
/// What looks like a letter, or becomes one where case is ignored.
const LOOKALIKES: &[(u8, &str)] = &[
    (b'k', "\u{212a}"),
    (b's', "\u{17f}"),
    (b'i', "\u{131}"),
    (b'i', "\u{130}"),
    (b'a', "\u{430}"),
    (b'e', "\u{ff45}"),
    (b'o', "\u{ba}"),
    (b'.', "\u{ff0e}"),
    (b'.', "\u{2024}"),
    (b'g', "\u{1d58c}"),
    (b'd', "\u{217e}"),
    (b'n', "n\u{303}"),
    (b'u', "\u{fc}"),
];

/// One spelling of a path: up to five changes, each anywhere, more often few.
pub(crate) fn spelling(path: &str, random: &mut Random) -> Vec<u8> {
    let mut spelled = path.as_bytes().to_vec();
    if random.below(4) == 0 {
        // As browsers send what is no ASCII; raw it stays otherwise.
        spelled = spelled
            .iter()
            .flat_map(|byte| if byte.is_ascii_graphic() { vec![*byte] } else { escape(*byte, random) })
            .collect();
    }
    let most = 1 + random.below(5);
    for _ in 0..=random.below(most) {
        change(&mut spelled, random);
    }
    // These would end the request's line, which no router sees.
    spelled.retain(|byte| !matches!(byte, b'\r' | b'\n'));
    spelled
}

fn change(spelled: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(spelled.len().max(1));
    let Some(byte) = spelled.get(at).copied() else { return spelled.push(b'/') };
    match random.below(12) {
        0 | 1 => drop(spelled.splice(at..=at, escape(byte, random))),
        2 => escape_again(spelled, random),
        3 | 4 => one_of(spelled, b'/', |random| random.of(SLASHES).to_vec(), random),
        5 => one_of(spelled, b'.', |random| random.of(&[b"%2e", b"%2E", b"%252e", b"%c0%ae", b"."]).to_vec(), random),
        6 => spelled.extend_from_slice(random.of(ENDS)),
        7 => drop(spelled.splice(0..0, random.of(STARTS).iter().copied())),
        8 => drop(spelled.splice(at..at, random.of(INSERTED).iter().copied())),
        9 => {
            spelled[at] = if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
        }
        10 => look_alike(spelled, random),
        _ => {
            let end = spelled.len().min(at + 1 + random.below(4));
            match random.below(2) {
                0 => drop(spelled.drain(at..end)),
                _ => drop(spelled.splice(at..at, spelled[at..end].to_vec())),
            }
        }
    }
}

/// `%2f`, in either case of each digit.
fn escape(byte: u8, random: &mut Random) -> Vec<u8> {
    let digit = |value: u8, upper: bool| {
        char::from_digit(value.into(), 16).map(|c| if upper { c.to_ascii_uppercase() } else { c }).unwrap()
    };
    let (upper, lower) = (random.below(2) == 0, random.below(2) == 0);
    format!("%{}{}", digit(byte >> 4, upper), digit(byte & 15, lower)).into_bytes()
}

/// Escapes a sign of an escape, or a letter twice.
fn escape_again(spelled: &mut Vec<u8>, random: &mut Random) {
    if spelled.contains(&b'%') {
        return one_of(spelled, b'%', |random| random.of(&[b"%25", b"%2525"]).to_vec(), random);
    }
    let at = random.below(spelled.len());
    let escaped = escape(spelled[at], random);
    spelled.splice(at..=at, [b"%25", &escaped[1..]].concat());
}

/// Replaces one of these bytes, if there is any.
fn one_of(spelled: &mut Vec<u8>, byte: u8, other: impl FnOnce(&mut Random) -> Vec<u8>, random: &mut Random) {
    let places: Vec<_> = spelled.iter().enumerate().filter(|(_, b)| **b == byte).map(|(at, _)| at).collect();
    if !places.is_empty() {
        let at = places[random.below(places.len())];
        spelled.splice(at..=at, other(random));
    }
}

fn look_alike(spelled: &mut Vec<u8>, random: &mut Random) {
    let (letter, like) = LOOKALIKES[random.below(LOOKALIKES.len())];
    let escaped = random.below(2) == 0;
    let written = move |random: &mut Random| match escaped {
        true => like.bytes().flat_map(|byte| escape(byte, random)).collect(),
        false => like.as_bytes().to_vec(),
    };
    one_of(spelled, letter, written, random);
}
