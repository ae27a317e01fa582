use std::fmt;

use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

/// Largest compiled pattern, in bytes: matching costs its size times the value's, and a decision has 10 µs.
const PATTERN_SIZE_LIMIT_BYTES: usize = 16 * 1024;

/// One value as a role names it: `literal`, `*`, or `^pattern$`. In the order of what they cost.
#[derive(Clone, Debug)]
enum Matcher {
    Any,
    Literal(Box<str>),
    Pattern {
        /// What every match begins with. Most values differ from it at once, for a tenth of what the pattern costs.
        prefix: Box<str>,
        pattern: Regex,
    },
}

impl Matcher {
    fn parse(text: &str) -> Result<Matcher, String> {
        if text == "*" {
            return Ok(Matcher::Any);
        }
        if text.starts_with('^') && text.ends_with('$') && text.len() >= 2 {
            // The group keeps the anchors outside of an alternation: `^a|b$` would else match "axe".
            let inner = &text[1..text.len() - 1];
            let whole = format!("^(?:{inner})$");
            return RegexBuilder::new(&whole)
                .size_limit(PATTERN_SIZE_LIMIT_BYTES)
                .build()
                .map(|pattern| Matcher::Pattern {
                    prefix: literal_prefix(inner).into(),
                    pattern,
                })
                .map_err(|error| format!("pattern {text:?} cannot be read: {error}"));
        }
        // Written as a glob elsewhere; taken as a literal here, a deny rule would silently match nothing.
        if text.contains('*') || text.starts_with('^') {
            return Err(format!(
                "got {text:?} while expecting a literal, \"*\", or a pattern between ^ and $"
            ));
        }
        Ok(Matcher::Literal(text.into()))
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Matcher::Any => true,
            Matcher::Literal(literal) => **literal == *value,
            Matcher::Pattern { prefix, pattern } => value.starts_with(&**prefix) && pattern.is_match(value),
        }
    }

    fn cost(&self) -> u8 {
        match self {
            Matcher::Any => 0,
            Matcher::Literal(_) => 1,
            Matcher::Pattern { .. } => 2,
        }
    }
}

/// Plain characters with which everything that `pattern` matches begins; empty where that is not plain to see.
fn literal_prefix(pattern: &str) -> &str {
    if has_alternatives(pattern) {
        return "";
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/:@,=".contains(&byte);
    let length = pattern.bytes().take_while(|byte| is_plain(*byte)).count();
    match pattern.as_bytes().get(length) {
        // The last character may be absent.
        Some(b'?' | b'*' | b'{') => &pattern[..length.saturating_sub(1)],
        _ => &pattern[..length],
    }
}

/// Whether the whole pattern may be one of several. Where escapes or classes make parentheses hard to count, any `|` counts.
fn has_alternatives(pattern: &str) -> bool {
    let mut depth = 0_usize;
    let countable = !pattern.contains(['\\', '[']);
    pattern.bytes().any(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        byte == b'|' && (depth == 0 || !countable)
    })
}

/// Alternatives: a value matches if one of them does. None at all match nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matchers(Vec<Matcher>);

impl Matchers {
    fn new(mut matchers: Vec<Matcher>) -> Matchers {
        matchers.sort_by_key(Matcher::cost);
        Matchers(matchers)
    }

    pub(crate) fn matches(&self, value: &str) -> bool {
        self.0.iter().any(|matcher| matcher.matches(value))
    }

    fn is_any(&self) -> bool {
        self.0.iter().any(|matcher| matches!(matcher, Matcher::Any))
    }
}

/// In a document: one value, or a list of values.
impl<'de> Deserialize<'de> for Matchers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Matchers, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Matchers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Matchers, E> {
                Ok(Matchers::new(vec![Matcher::parse(value).map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Matchers, A::Error> {
                let mut matchers = Vec::new();
                while let Some(value) = sequence.next_element::<String>()? {
                    matchers.push(Matcher::parse(&value).map_err(de::Error::custom)?);
                }
                Ok(Matchers::new(matchers))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// Label expressions of one rule: every key must be there with a matching value.
///
/// `"*" = "*"` matches every node, also one without labels. An empty table matches none, so that a forgotten table
/// grants nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelMatchers {
    every_node: bool,
    keys: Vec<(Box<str>, Matchers)>,
}

impl LabelMatchers {
    pub(crate) fn matches(&self, labels: &crate::Labels) -> bool {
        if self.keys.is_empty() {
            return self.every_node;
        }
        self.keys
            .iter()
            .all(|(key, values)| labels.get(key).is_some_and(|value| values.matches(value)))
    }
}

impl<'de> Deserialize<'de> for LabelMatchers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LabelMatchers, D::Error> {
        let table = std::collections::BTreeMap::<String, Matchers>::deserialize(deserializer)?;
        let mut matchers = LabelMatchers::default();
        for (key, values) in table {
            if key != "*" {
                matchers.keys.push((key.into(), values));
            } else if values.is_any() {
                matchers.every_node = true;
            } else {
                return Err(de::Error::custom(
                    "label \"*\" takes only the value \"*\", which means every node",
                ));
            }
        }
        Ok(matchers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_anchored_as_a_whole() {
        let matcher = Matcher::parse("^web|db$").unwrap();
        assert!(matcher.matches("web") && matcher.matches("db"));
        assert!(!matcher.matches("web1") && !matcher.matches("mydb"));
    }

    #[test]
    fn a_glob_is_refused_rather_than_taken_literally() {
        assert!(
            Matcher::parse("prod-*")
                .unwrap_err()
                .contains("expecting a literal")
        );
        assert!(Matcher::parse("^prod").unwrap_err().contains("between ^ and $"));
    }

    #[test]
    fn a_literal_prefix_never_hides_a_match() {
        let prefixes = [
            ("web-1", "web-1"),
            ("web.*", "web"),
            ("webs?-1", "web"),
            ("web{2}", "we"),
            ("w*", ""),
            ("web+", "web"),
            ("web|db", ""),
            ("a(b|c)", "a"),
            ("a\\((b|c)", ""),
            ("a[(]b|c", ""),
            ("(?i)web", ""),
            ("a(b)|c", ""),
        ];
        for (pattern, prefix) in prefixes {
            assert_eq!(literal_prefix(pattern), prefix, "{pattern}");
        }
        for (pattern, value) in [
            ("^webs?-1$", "web-1"),
            ("^web|db$", "db"),
            ("^a[(]b|c$", "c"),
            ("^(?i)web$", "WEB"),
        ] {
            assert!(
                Matcher::parse(pattern).unwrap().matches(value),
                "{pattern} {value}"
            );
        }
    }

    #[test]
    fn a_pattern_that_would_be_slow_is_refused() {
        assert!(
            Matcher::parse("^(a{100}){100}{100}$")
                .unwrap_err()
                .contains("cannot be read")
        );
    }
}
