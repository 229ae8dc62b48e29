//! Given: a template of paths, and a path. Gives: the segments of the path that the template leaves open. Refuses to know: what
//! they say.
//!
//! Nearly all paths are their template but for the parameters, so what stands between these is compared as a whole, and
//! no byte of it is looked at for a slash.

/// Parameters of a path that is compared as a whole; one with more is taken apart by its slashes.
const PARAMETERS_MAX: usize = 8;

/// Bytes of a template beside its parameters, when it is compared as a whole.
const FIXED_BYTES_MAX: usize = 72;

/// Which segments of a path are parameters.
#[derive(Clone, Debug)]
pub struct Template {
    /// `None` for one that is too long to be compared as a whole.
    whole: Option<Whole>,
    /// Of each segment.
    is_parameter: Box<[bool]>,
}

/// A template as it is compared. All of it stands in one place, since every call is compared with one, and that is seldom the
/// last one's.
#[derive(Clone, Copy, Debug)]
struct Whole {
    /// What stands before the first parameter, and behind each of them, slashes included, one after the other.
    fixed: [u8; FIXED_BYTES_MAX],
    /// Where each of these ends.
    ends: [u8; PARAMETERS_MAX + 1],
    /// Which segment each parameter is.
    places: [u8; PARAMETERS_MAX],
    parameters: u8,
}

impl Template {
    /// Of its text: a segment with a brace or an asterisk is a parameter.
    pub fn new(text: &str) -> Template {
        let is_open = |segment: &[u8]| segment.iter().any(|byte| b"{*".contains(byte));
        Template {
            whole: Whole::of(segments(text.as_bytes()).map(|segment| (segment, is_open(segment)))),
            is_parameter: segments(text.as_bytes()).map(is_open).collect(),
        }
    }

    /// Calls `each` with the segments of a path that are parameters, and those behind the last segment of the template: with
    /// the place of the segment, from 0, and whether it is a parameter. A slash at the end of the path does not count.
    #[inline]
    pub fn open<'a>(&self, path: &'a [u8], mut each: impl FnMut(usize, bool, &'a [u8])) {
        if let Some((whole, values)) =
            self.whole.as_ref().and_then(|whole| Some((whole, whole.values(path)?)))
        {
            let places = whole.places.iter().take(whole.parameters.into());
            places.zip(values).for_each(|(&place, value)| each(place.into(), true, value));
            return;
        }
        for (place, segment) in segments(path).enumerate() {
            match self.is_parameter.get(place) {
                Some(false) => {}
                Some(true) => each(place, true, segment),
                None => each(place, false, segment),
            }
        }
    }
}

impl Whole {
    /// Of segments, and whether each is a parameter; `None` when there is no room for them.
    fn of<'a>(segments: impl Iterator<Item = (&'a [u8], bool)>) -> Option<Whole> {
        let mut own = Whole {
            fixed: [0; FIXED_BYTES_MAX],
            ends: [0; PARAMETERS_MAX + 1],
            places: [0; PARAMETERS_MAX],
            parameters: 0,
        };
        let (mut end, mut parameters) = (0, 0);
        for (place, (segment, is_parameter)) in segments.enumerate() {
            let text = if is_parameter { &[] } else { segment };
            let room = own.fixed.get_mut(end..end + 1 + text.len())?;
            let (slash, room) = room.split_first_mut()?;
            *slash = b'/';
            room.copy_from_slice(text);
            end += 1 + text.len();
            *own.ends.get_mut(parameters)? = u8::try_from(end).ok()?;
            if is_parameter {
                *own.places.get_mut(parameters)? = u8::try_from(place).ok()?;
                parameters += 1;
                *own.ends.get_mut(parameters)? = u8::try_from(end).ok()?;
            }
        }
        own.parameters = u8::try_from(parameters).ok()?;
        Some(own)
    }

    /// The parameters of a path that is the template but for them; `None` for one that has to be taken apart.
    fn values<'a>(&self, path: &'a [u8]) -> Option<[&'a [u8]; PARAMETERS_MAX]> {
        let mut rest = path.strip_suffix(b"/").unwrap_or(path);
        let mut values: [&[u8]; PARAMETERS_MAX] = [&[]; PARAMETERS_MAX];
        let mut from = 0;
        for (at, &end) in self.ends.iter().enumerate() {
            rest = rest.strip_prefix(self.fixed.get(from..end.into())?)?;
            from = end.into();
            if at >= self.parameters.into() {
                break;
            }
            let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let (value, tail) = rest.split_at_checked(end).filter(|(value, _)| !value.is_empty())?;
            *values.get_mut(at)? = value;
            rest = tail;
        }
        rest.is_empty().then_some(values)
    }
}

/// What stands between slashes, but for what is empty.
fn segments(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Open<'a> = Vec<(usize, bool, &'a str)>;

    fn open<'a>(template: &str, path: &'a str) -> Open<'a> {
        let mut open = Vec::new();
        Template::new(template).open(path.as_bytes(), |place, is_parameter, segment| {
            open.push((place, is_parameter, std::str::from_utf8(segment).expect("text")));
        });
        open
    }

    #[test]
    fn what_is_open_is_what_the_template_does_not_say() {
        let check = |template: &str, path: &str, expect: Open<'_>| assert_eq!(open(template, path), expect);
        check("/v1/users/{id}/items/{id}", "/v1/users/17/items/3", vec![(2, true, "17"), (4, true, "3")]);
        check("/v1/users/{id}", "/v1/users/17/", vec![(2, true, "17")]);
        check("/v1/users/{id}", "/v1//users/17", vec![(2, true, "17")]);
        check("/v1/users/{id}", "/v1/users", vec![]);
        check("/v1/users/{id}.json", "/v1/users/17.json", vec![(2, true, "17.json")]);
        check("/assets/*", "/assets/a/b", vec![(1, true, "a"), (2, false, "b")]);
        check("/v1/users", "/v1/users", vec![]);
        check("/", "/", vec![]);
        check("/", "", vec![]);
        check("other", "/a", vec![]);
        check("/a", "/a/b", vec![(1, false, "b")]);
        check(
            &"/{id}".repeat(9),
            "/1/2/3/4/5/6/7/8/9",
            (0..9).map(|at| (at, true, &"123456789"[at..=at])).collect(),
        );
        let long = "/a".repeat(FIXED_BYTES_MAX);
        check(&format!("{long}/{{id}}"), &format!("{long}/7"), vec![(FIXED_BYTES_MAX, true, "7")]);
    }

    proptest! {
        /// It makes no difference whether a path was compared as a whole.
        #[test]
        fn both_ways_give_the_same(template in "(/(a|b|\\{id\\}|\\*|a\\{x\\})){0,6}/?", path in "(//?(a|b|ab)){0,6}/?") {
            let expect: Open<'_> = {
                let is_parameter: Vec<bool> =
                    segments(template.as_bytes()).map(|segment| segment.contains(&b'{') || segment.contains(&b'*')).collect();
                segments(path.as_bytes())
                    .enumerate()
                    .filter(|(place, _)| is_parameter.get(*place) != Some(&false))
                    .map(|(place, segment)| (place, is_parameter.get(place).is_some(), std::str::from_utf8(segment).expect("text")))
                    .collect()
            };
            prop_assert_eq!(open(&template, &path), expect);
        }
    }
}
