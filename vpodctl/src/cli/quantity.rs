//! Amounts as Kubernetes writes them: `500m` cores, `64Mi` bytes, `10M` bits per second.

/// Most cores a limit can name; the kernel's own arithmetic ends far above.
const MAX_CORES: u64 = 4096;

const UNITS: [(&str, u64); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("", 1),
];

/// Cores, as `2`, `0.5` or `500m`; the result is thousandths.
pub(crate) fn parse_cpu(text: &str) -> Result<u32, String> {
    let wrong = || format!("\"{text}\" is not a number of cores: write 2, 0.5 or 500m");
    let millis = match text.strip_suffix('m') {
        Some(number) => decimal(number, 1).ok_or_else(wrong)?,
        None => decimal(text, 1000).ok_or_else(wrong)?,
    };
    if millis == 0 {
        return Err(format!("\"{text}\" is no CPU at all: the smallest limit is 1m"));
    }
    if millis > MAX_CORES * 1000 {
        return Err(format!("\"{text}\" is more than {MAX_CORES} cores"));
    }
    u32::try_from(millis).map_err(|_| wrong())
}

/// Bytes, as `64Mi`, `1.5Gi`, `1G` or a plain number.
pub(crate) fn parse_memory(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("\"{text}\" is not an amount of memory: write 64Mi, 1.5Gi, 1G or a number of bytes");
    match scaled(text).ok_or_else(wrong)? {
        0 => Err(format!("\"{text}\" is no memory at all")),
        bytes => Ok(bytes),
    }
}

/// Bits per second, or bits, as `10M`, `1.5G` or a plain number. What limits there are is the daemon's to say.
pub(crate) fn parse_bits(text: &str) -> Result<u64, String> {
    scaled(text)
        .ok_or_else(|| format!("\"{text}\" is not a number of bits: write 10M, 1.5G or a plain number"))
}

fn scaled(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    decimal(number, *scale)
}

/// `number` × `scale` when that is whole; a decimal point is read exactly, not as a float.
fn decimal(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut result = u128::from(whole) * u128::from(scale);
    if !fraction.is_empty() {
        let divisor = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = fraction.parse::<u128>().ok()?.checked_mul(u128::from(scale))?;
        if part % divisor != 0 {
            return None;
        }
        result += part / divisor;
    }
    u64::try_from(result).ok()
}

/// Thousandths of a core as Kubernetes prints them: `2`, `500m`.
pub(crate) fn format_cpu(millis: u32) -> String {
    if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") }
}

/// Bytes in the largest binary unit that leaves them whole: `64Mi`.
pub(crate) fn format_memory(bytes: u64) -> String {
    let binary = ["Ti", "Gi", "Mi", "Ki"];
    for (name, shift) in binary.iter().zip([40, 30, 20, 10]) {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{name}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A rate in the largest decimal unit that leaves it whole: `10 Mbit/s`.
pub(crate) fn format_rate(bits_per_second: u64) -> String {
    for (name, unit) in [("T", 1_000_000_000_000), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)] {
        if bits_per_second != 0 && bits_per_second.is_multiple_of(unit) {
            return format!("{} {name}bit/s", bits_per_second / unit);
        }
    }
    format!("{bits_per_second} bit/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_whole_decimal_or_thousandths() {
        for (text, millis) in [
            ("1", 1000),
            ("2", 2000),
            ("0.5", 500),
            (".25", 250),
            ("1.", 1000),
            ("500m", 500),
            ("1500m", 1500),
            ("0.001", 1),
        ] {
            assert_eq!(parse_cpu(text), Ok(millis), "{text}");
        }
        for text in [
            "",
            ".",
            "m",
            "0",
            "0m",
            "-1",
            "1.5m",
            "0.0001",
            "1e3",
            "abc",
            "5000",
            "99999999999999999999",
            "1 ",
        ] {
            assert!(parse_cpu(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_takes_binary_and_decimal_units() {
        for (text, bytes) in [
            ("1", 1),
            ("64Mi", 64 << 20),
            ("1G", 1_000_000_000),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("0.5Ki", 512),
            ("1k", 1000),
            ("2Ti", 2 << 40),
        ] {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "Mi", "0", "0Mi", "-1Mi", "1.0001", "64MB", "64mi", "1 Gi", "99999999Ti"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bits_are_decimal_as_rates_are_and_zero_is_for_the_daemon_to_refuse() {
        for (text, bits) in [
            ("10M", 10_000_000),
            ("1.5G", 1_500_000_000),
            ("64Ki", 65_536),
            ("1P", 1_000_000_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse_bits(text), Ok(bits), "{text}");
        }
        for text in ["", "M", "-1M", "10Mbit", "10 M", "1e6", "99999999P"] {
            assert!(parse_bits(text).is_err(), "{text}");
        }
        for (bits, text) in [
            (10_000_000, "10 Mbit/s"),
            (1_500_000, "1500 kbit/s"),
            (1_001, "1001 bit/s"),
            (2_000_000_000, "2 Gbit/s"),
        ] {
            assert_eq!(format_rate(bits), text);
        }
    }

    #[test]
    fn amounts_print_as_they_are_read() {
        for text in ["2", "500m", "1500m"] {
            assert_eq!(parse_cpu(text).map(format_cpu), Ok(text.to_owned()));
        }
        for text in ["64Mi", "1Gi", "1000", "3Ki"] {
            assert_eq!(parse_memory(text).map(format_memory), Ok(text.to_owned()));
        }
    }
}
