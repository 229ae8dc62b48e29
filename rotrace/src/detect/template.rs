//! Given: a template of paths, and a path. Gives: the segments of the path that the template leaves open. Refuses to know: what
//! they say.
//!
//! Nearly all paths are their template but for the parameters, so what stands between these is compared as a whole, and
//! no byte of it is looked at for a slash.

/// Parameters of a path that is compared as a whole; one with more is taken apart by its slashes.
const PARAMETERS_MAX: usize = 8;

/// Which segments of a path are parameters.
#[derive(Clone, Debug)]
pub struct Template {
    /// Of each segment.
    is_parameter: Box<[bool]>,
    /// What stands before the first parameter, and behind each of them, slashes included.
    fixed: Box<[Box<[u8]>]>,
}

impl Template {
    /// Of its text: a segment with a brace or an asterisk is a parameter.
    pub fn new(text: &str) -> Template {
        let mut is_parameter = Vec::new();
        let mut fixed = vec![Vec::new()];
        for segment in segments(text.as_bytes()) {
            let is_open = segment.iter().any(|byte| b"{*".contains(byte));
            is_parameter.push(is_open);
            if let Some(before) = fixed.last_mut() {
                before.push(b'/');
                before.extend_from_slice(if is_open { &[] } else { segment });
            }
            if is_open {
                fixed.push(Vec::new());
            }
        }
        let fixed = fixed.into_iter().map(Vec::into_boxed_slice).collect();
        Template { is_parameter: is_parameter.into(), fixed }
    }

    /// Calls `each` with the segments of a path that are parameters, and those behind the last segment of the template: with
    /// the place of the segment, from 0, and whether it is a parameter. A slash at the end of the path does not count.
    #[inline]
    pub fn open<'a>(&self, path: &'a [u8], mut each: impl FnMut(usize, bool, &'a [u8])) {
        if let Some(values) = self.values(path) {
            let places = self.is_parameter.iter().enumerate().filter(|(_, is_parameter)| **is_parameter);
            places.zip(values).for_each(|((place, _), value)| each(place, true, value));
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

    /// The parameters of a path that is the template but for them; `None` for one that has to be taken apart.
    fn values<'a>(&self, path: &'a [u8]) -> Option<[&'a [u8]; PARAMETERS_MAX]> {
        let (first, behind) = self.fixed.split_first()?;
        let mut rest = path.strip_suffix(b"/").unwrap_or(path).strip_prefix(&**first)?;
        let mut values: [&[u8]; PARAMETERS_MAX] = [&[]; PARAMETERS_MAX];
        for (at, fixed) in behind.iter().enumerate() {
            let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let (value, tail) = rest.split_at_checked(end).filter(|(value, _)| !value.is_empty())?;
            *values.get_mut(at)? = value;
            rest = tail.strip_prefix(&**fixed)?;
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
