//! Given: the rules of the configuration, in their order. Gives: the first that a call fits. Refuses to know: the file
//! that they were written in, documents, shapes.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

use super::canonical;
use super::pattern::{Accepts, Fault, Segment};

/// One rule, as written. The first that fits a call decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Glob over the canonical authority, so with a port that is not a default one. Any when `None`.
    pub host: Option<Box<str>>,
    /// The method, in its case. Any when `None`.
    pub method: Option<Box<str>>,
    /// Of the path without its query: `{name}` is one segment or a part of one, `*` is a parameter without a name,
    /// and `**`, at most once, is any number of segments, none included.
    pub pattern: Box<str>,
    /// What the label shows; the pattern when `None`. Its parameters are shown as written, never with values.
    pub template: Option<Box<str>>,
    /// The calls are left out of everything that is counted by endpoint.
    pub ignore: bool,
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The pattern, host or template that is wrong, as written.
    pub text: Box<str>,
    /// What is wrong with it.
    pub fault: RuleFault,
}

/// What can be wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleFault {
    /// A segment of the pattern.
    Pattern(Fault),
    /// The pattern does not begin with a slash.
    Relative,
    /// The pattern has a `?` or `#`.
    Query,
    /// More segments than a canonical path can have, or too many bytes.
    Long,
    /// `**` within a segment, or twice.
    Rest,
    /// The host is not a glob.
    Host,
    /// The template does not begin with a slash, is too long, or has blanks or control characters.
    Template,
    /// A template is given for calls that are left out.
    IgnoredTemplate,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, fault } = self;
        match fault {
            RuleFault::Pattern(fault) => write!(formatter, "pattern `{text}`: {fault}"),
            RuleFault::Relative => write!(formatter, "pattern `{text}`: it does not begin with `/`"),
            RuleFault::Query => {
                write!(
                    formatter,
                    "pattern `{text}`: it is compared with paths without query, so it has no `?` and `#`"
                )
            }
            RuleFault::Long => write!(
                formatter,
                "pattern `{text}`: it has more than {} segments or {} bytes; end it with `/**`",
                canonical::SEGMENTS,
                canonical::PATH_BYTES
            ),
            RuleFault::Rest => {
                write!(
                    formatter,
                    "pattern `{text}`: `**` stands for whole segments, and at most once in a pattern"
                )
            }
            RuleFault::Host => write!(formatter, "host `{text}`: it is not a glob"),
            RuleFault::Template => write!(
                formatter,
                "template `{text}`: it begins with `/`, has no blanks and is at most {} bytes long",
                canonical::PATH_BYTES
            ),
            RuleFault::IgnoredTemplate => {
                write!(formatter, "template `{text}`: the rule ignores its calls, so nothing would show it")
            }
        }
    }
}

/// A rule ready for use.
#[derive(Debug)]
pub(crate) struct Compiled {
    host: Option<GlobMatcher>,
    method: Option<Box<str>>,
    /// Segments before `**`, or all.
    before: Box<[Segment]>,
    /// Segments behind `**`; `None` without one.
    after: Option<Box<[Segment]>>,
    pub(super) template: Box<str>,
    pub(super) ignore: bool,
}

impl Compiled {
    pub(crate) fn new(rule: &Rule) -> Result<Self, Error> {
        let Rule { host, method, pattern, template, ignore } = rule;
        let error = |text: &str, fault| Error { text: text.into(), fault };
        let host = host.as_deref().map(|host| {
            let glob = GlobBuilder::new(host).case_insensitive(true).build();
            glob.map(|glob| glob.compile_matcher()).map_err(|_| error(host, RuleFault::Host))
        });
        let (before, after) = segments(pattern).map_err(|fault| error(pattern, fault))?;
        if let Some(template) = template {
            let plain = template.bytes().all(|byte| byte.is_ascii_graphic())
                && template.len() <= canonical::PATH_BYTES;
            if !template.starts_with('/') || !plain {
                return Err(error(template, RuleFault::Template));
            }
            if *ignore {
                return Err(error(template, RuleFault::IgnoredTemplate));
            }
        }
        Ok(Self {
            host: host.transpose()?,
            method: method.clone(),
            before,
            after,
            template: template.clone().unwrap_or_else(|| canonical::path(pattern).into()),
            ignore: *ignore,
        })
    }

    /// Whether it can fit calls to the authority.
    pub(super) fn concerns(&self, authority: &str) -> bool {
        self.host.as_ref().is_none_or(|host| host.is_match(authority))
    }

    /// Whether it fits a call to an authority that it concerns; `segments` are those of the canonical path.
    pub(super) fn fits(&self, method: &str, segments: &[&str]) -> bool {
        let Self { host: _, method: wanted, before, after, template: _, ignore: _ } = self;
        if wanted.as_deref().is_some_and(|wanted| wanted != method) {
            return false;
        }
        let all = |patterns: &[Segment], segments: &[&str]| {
            patterns.iter().zip(segments).all(|(pattern, segment)| pattern.fits(segment))
        };
        let Some((head, tail)) = segments.split_at_checked(before.len()) else { return false };
        let Some(after) = after else { return tail.is_empty() && all(before, head) };
        let Some(skipped) = tail.len().checked_sub(after.len()) else { return false };
        all(before, head) && all(after, tail.get(skipped..).unwrap_or_default())
    }
}

impl Compiled {
    /// Whether it fits calls with this `endpoint` label: a parameter of the label stands for its values.
    pub(crate) fn fits_endpoint(&self, endpoint: &str, method: &str) -> bool {
        let (authority, path) = canonical::divided(endpoint);
        let segments: Vec<&str> = canonical::segments(path).collect();
        !path.is_empty() && self.concerns(authority) && self.fits(method, &segments)
    }
}

type Halves = (Box<[Segment]>, Option<Box<[Segment]>>);

/// The segments before and behind `**`.
fn segments(pattern: &str) -> Result<Halves, RuleFault> {
    if !pattern.starts_with('/') {
        return Err(RuleFault::Relative);
    }
    if pattern.contains(['?', '#']) {
        return Err(RuleFault::Query);
    }
    let written = pattern.split('/').filter(|segment| !segment.is_empty()).count();
    if written > canonical::SEGMENTS || pattern.len() > canonical::PATH_BYTES {
        return Err(RuleFault::Long);
    }
    let path = canonical::path(pattern);
    let mut before = Vec::new();
    let mut after = None;
    for segment in canonical::segments(&path) {
        if segment == "**" && after.is_none() {
            after = Some(Vec::new());
        } else if segment.contains("**") {
            return Err(RuleFault::Rest);
        } else {
            let named = segment.replace('*', "{*}");
            let segment = Segment::parse(&named, |_| Accepts::Any).map_err(RuleFault::Pattern)?;
            after.as_mut().unwrap_or(&mut before).push(segment);
        }
    }
    Ok((before.into(), after.map(Vec::into_boxed_slice)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str) -> Rule {
        Rule { pattern: pattern.into(), ..Rule::default() }
    }

    fn check(pattern: &str, fitting: &[&str], others: &[&str]) {
        let rule = Compiled::new(&rule(pattern)).unwrap();
        let fits = |path: &str| rule.fits("GET", &canonical::segments(path).collect::<Vec<_>>());
        for path in fitting {
            assert!(fits(path), "{pattern} fits {path}");
        }
        for path in others {
            assert!(!fits(path), "{pattern} does not fit {path}");
        }
        assert!(fits(&rule.template), "{pattern} fits its own template {}", rule.template);
    }

    #[test]
    fn patterns_fit_paths() {
        check("/", &["/"], &["/a", "/a/b"]);
        check(
            "/games/{slug}",
            &["/games/adopt-me", "/games/*"],
            &["/games", "/games/a/b", "/Games/a", "/x/a"],
        );
        check("/games/*/info", &["/games/a/info"], &["/games/info", "/games/a/b/info"]);
        check("/files/{name}.json", &["/files/a.json", "/files/a.b.json"], &["/files/.json", "/files/a.xml"]);
        check("/v*/x", &["/v1/x", "/vx/x"], &["/v/x", "/1/x"]);
        check("/**", &["/", "/a", "/a/b/c", "/a/**"], &[]);
        check("/static/**", &["/static", "/static/a/b"], &["/", "/a/static"]);
        check("/a/**/z", &["/a/z", "/a/b/z", "/a/b/c/z"], &["/a", "/a/b", "/z", "/b/z"]);
        check("//a//%7Euser/", &["/a/~user"], &["/a"]);
    }

    #[test]
    fn labels_fit_like_the_paths_they_stand_for() {
        let rule = Rule { host: Some("*.x".into()), ..rule("/games/{slug}:publish") };
        let rule = Compiled::new(&rule).unwrap();
        assert!(rule.fits_endpoint("a.x/games/{id}:publish", "POST"));
        for endpoint in
            ["a.x/games/{id}", "a.y/games/{id}:publish", "unknown", "a.x", "a.x/games/{id}:publish/{id}"]
        {
            assert!(!rule.fits_endpoint(endpoint, "POST"), "{endpoint}");
        }
        let all = Compiled::new(&Rule { pattern: "/**".into(), ..Rule::default() }).unwrap();
        assert!(!all.fits_endpoint("unknown", "GET") && !all.fits_endpoint("a.x", "CONNECT"));
    }

    #[test]
    fn host_and_method_must_fit() {
        let rule = Rule { host: Some("*.X".into()), method: Some("GET".into()), ..rule("/**") };
        let rule = Compiled::new(&rule).unwrap();
        assert!(
            rule.concerns("a.x")
                && rule.concerns("a.b.x")
                && !rule.concerns("x")
                && !rule.concerns("a.x:8080")
        );
        assert!(rule.fits("GET", &[]) && !rule.fits("POST", &[]) && !rule.fits("get", &[]));
    }

    #[test]
    fn faults_name_the_text() {
        let fault = |rule: Rule| Compiled::new(&rule).unwrap_err().to_string();
        assert_eq!(fault(rule("games")), "pattern `games`: it does not begin with `/`");
        assert_eq!(fault(rule("")), "pattern ``: it does not begin with `/`");
        assert_eq!(fault(rule("/a/{id")), "pattern `/a/{id`: a `{` is not closed in its segment");
        assert!(fault(rule("/a/{}")).contains("no name"));
        assert!(fault(rule("/a/{b}{c}")).contains("no text between"));
        assert!(fault(rule("/a/*{c}")).contains("no text between"));
        assert!(fault(rule("/a?b=1")).contains("without query"));
        assert!(fault(rule("/**/a/**")).contains("at most once"));
        assert!(fault(rule("/a**")).contains("whole segments"));
        assert!(fault(rule(&"/a".repeat(17))).contains("end it with `/**`"));
        assert_eq!(fault(Rule { host: Some("[a".into()), ..rule("/") }), "host `[a`: it is not a glob");
        assert!(fault(Rule { template: Some("a b".into()), ..rule("/") }).contains("begins with `/`"));
        assert!(fault(Rule { template: Some("/a".into()), ignore: true, ..rule("/") }).contains("ignores"));
    }
}
