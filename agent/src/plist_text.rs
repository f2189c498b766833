//! A word out of a property list in XML. For files that need no more than that; the wrapper reads definitions in full.

/// The string after this key. Nothing if it is not there, or has something in it that XML writes in another way.
pub(crate) fn string<'a>(plist: &'a str, key: &str) -> Option<&'a str> {
    let after_key = plist.split(&format!("<key>{key}</key>")).nth(1)?;
    let value = after_key.trim_start().strip_prefix("<string>")?.split("</string>").next()?;
    Some(value.trim()).filter(|value| !value.is_empty() && !value.contains(['&', '<']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_of_a_key_is_found() {
        let plist = "<dict>\n\t<key>ProductName</key>\n\t<string>macOS</string>\n\
            \t<key>ProductVersion</key>\n\t<string>14.7.1</string>\n\
            <key>Odd</key><string>a&amp;b</string><key>True</key><true/></dict>";
        for (key, expected) in [
            ("ProductVersion", Some("14.7.1")),
            ("ProductName", Some("macOS")),
            ("Odd", None),
            ("True", None),
            ("Product", None),
        ] {
            assert_eq!(string(plist, key), expected, "{key}");
        }
    }
}
