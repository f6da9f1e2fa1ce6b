//! Numbers for people, with prefixes and units.

/// `1.9 GB`, powers of ten as on disks and in the model's name.
pub fn bytes(n: f64) -> String {
    scaled(n, "B")
}

/// `128 MiB`, powers of two as limits of devices are.
pub fn memory(n: u64) -> String {
    let step = n.max(1).ilog2() / 10;
    let value = n as f64 / f64::from(step * 10).exp2();
    let unit = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][step as usize];
    let digits = usize::from(value.fract() != 0.0);
    format!("{value:.digits$} {unit}")
}

/// `6.74 G`: three digits and a prefix.
pub fn scaled(n: f64, unit: &str) -> String {
    let (value, prefix) = match n.abs() {
        a if a >= 1e12 => (n / 1e12, "T"),
        a if a >= 1e9 => (n / 1e9, "G"),
        a if a >= 1e6 => (n / 1e6, "M"),
        a if a >= 1e3 => (n / 1e3, "k"),
        _ => return format!("{n:.0} {unit}").trim_end().to_owned(),
    };
    let digits = match value.abs() {
        a if a < 10.0 => 2,
        a if a < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(memory(32768), "32 KiB");
        assert_eq!(memory((2 << 30) - 1), "2.0 GiB");
        assert_eq!(memory(0), "0 B");
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(1.654e9), "1.65 GB");
        assert_eq!(scaled(12.6e6, ""), "12.6 M");
        assert_eq!(scaled(345_678.0, "B/s"), "346 kB/s");
    }
}
