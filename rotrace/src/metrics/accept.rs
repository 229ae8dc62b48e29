//! Given: the Accept field of a scrape. Gives: the format to answer in. Refuses to know: what is answered.

use super::Format;

/// The format that the client likes best by its Accept field (RFC 9110 §12.5.1): [`Format::Text`] unless it asks for
/// OpenMetrics more eagerly. What cannot be read is skipped, and who accepts neither gets text.
pub fn negotiate(accept: Option<&str>) -> Format {
    let quality = |format| {
        let matches = accept.unwrap_or("*/*").split(',').filter_map(|range| match_range(range, format));
        // The range that names the format most exactly decides; of equally exact ones, the most eager.
        matches.max().map_or(0, |(_exactness, quality)| quality)
    };
    if quality(Format::OpenMetrics) > quality(Format::Text) { Format::OpenMetrics } else { Format::Text }
}

/// How exactly a media range names a format, and its quality in thousandths; `None` when it does not.
fn match_range(range: &str, format: Format) -> Option<(u8, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next()?.to_ascii_lowercase();
    let (own_type, own_version) = match format {
        Format::Text => ("text/plain", "0.0.4"),
        Format::OpenMetrics => ("application/openmetrics-text", "1.0.0"),
    };
    let (own_top, _) = own_type.split_once('/')?;
    let mut exactness = match media_type.strip_suffix("/*") {
        Some("*") => 0,
        Some(top) if top == own_top => 1,
        None if media_type == own_type => 2,
        _ => return None,
    };
    let mut quality = 1000;
    for part in parts {
        let Some((name, value)) = part.split_once('=') else { continue };
        match (name.trim().to_ascii_lowercase().as_str(), value.trim().trim_matches('"')) {
            ("q", value) => quality = thousandths(value)?,
            ("version", version) if version == own_version => exactness = 3,
            ("version", _) => return None,
            _ => {}
        }
    }
    Some((exactness, quality))
}

/// A quality value (RFC 9110 §12.4.2): 0 to 1 with at most three decimals.
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_format() {
        let check = |accept, expect| assert_eq!(negotiate(accept), expect, "{accept:?}");
        check(None, Format::Text);
        check(Some(""), Format::Text);
        check(Some("*/*"), Format::Text);
        check(Some("application/json"), Format::Text);
        check(Some("application/openmetrics-text"), Format::OpenMetrics);
        check(Some("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8"), Format::OpenMetrics);
        check(Some("application/openmetrics-text;version=\"1.0.0\""), Format::OpenMetrics);
        check(Some("application/openmetrics-text;version=2.0.0"), Format::Text);
        check(Some("application/*;q=0.9,text/*;q=0.8"), Format::OpenMetrics);
        check(Some("application/openmetrics-text;q=0.4,text/plain;version=0.0.4;q=0.5"), Format::Text);
        check(Some("application/openmetrics-text;q=0,*/*;q=0.5"), Format::Text);
        check(Some("text/plain;q=0,*/*;q=0.5"), Format::OpenMetrics);
        check(Some("application/openmetrics-text;q=2,text/plain;q=0.1"), Format::Text);
        check(Some("application/openmetrics-text;q=0.0001,text/plain;q=-1"), Format::Text);
        // What Prometheus 3 sends, and what it sends where only text is configured.
        check(
            Some(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            ),
            Format::OpenMetrics,
        );
        check(Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), Format::Text);
    }
}
