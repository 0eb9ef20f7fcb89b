//! PostgreSQL's numeric as digits. Pure.

const NEGATIVE: u16 = 0x4000;
const SPECIAL: u16 = 0xC000;

/// From the binary form: how many groups of four digits, the place of the first one, sign, digits behind the point.
pub(super) fn digits(raw: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes(raw.get(2 * at..2 * at + 2)?.try_into().ok()?));
    let (count, weight, sign, scale) = (word(0)?, word(1)?.cast_signed(), word(2)?, word(3)?);
    if sign & SPECIAL == SPECIAL {
        return Some(special(sign).to_owned());
    }
    let groups = (0..usize::from(count)).map(|at| word(4 + at)).collect::<Option<Vec<_>>>()?;
    let group = |at: i32| usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
    let weight = i32::from(weight);
    let whole: String = (0..=weight).map(|at| format!("{:04}", group(at))).collect();
    let whole = whole.trim_start_matches('0');
    let fraction: String =
        (0..scale.div_ceil(4)).map(|at| format!("{:04}", group(weight + 1 + i32::from(at)))).collect();
    let minus = if sign == NEGATIVE { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if scale > 0 { "." } else { "" };
    Some(format!("{minus}{whole}{point}{}", &fraction[..usize::from(scale)]))
}

const fn special(sign: u16) -> &'static str {
    match sign {
        0xD000 => "Infinity",
        0xF000 => "-Infinity",
        _ => "NaN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn groups_of_four_digits_become_one_number() {
        let minus_one = u16::MAX;
        let cases: [(&[u16], &str); 8] = [
            (&[0, 0, 0, 0], "0"),
            (&[0, 0, 0, 2], "0.00"),
            (&[1, 0, 0, 0, 7], "7"),
            (&[2, 1, 0, 0, 12, 3], "120003"),
            (&[2, 0, 0, 2, 12, 5000], "12.50"),
            (&[1, 1, NEGATIVE, 0, 1], "-10000"),
            (&[1, minus_one, 0, 4, 5], "0.0005"),
            (&[0, 0, 0xC000, 0], "NaN"),
        ];
        for (words, wanted) in cases {
            assert_eq!(digits(&raw(words)).as_deref(), Some(wanted));
        }
        assert_eq!(digits(&raw(&[3, 0, 0, 0, 1])), None);
    }
}
