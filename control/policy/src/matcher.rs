use std::fmt;

use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

/// Largest compiled pattern, in bytes: matching costs its size times the value's, and a decision has 10 µs.
const PATTERN_SIZE_LIMIT_BYTES: usize = 16 * 1024;

/// One value as a role names it: `literal`, `*`, or `^pattern$`.
#[derive(Clone, Debug)]
enum Matcher {
    Any,
    Literal(Box<str>),
    Pattern(Regex),
}

impl Matcher {
    fn parse(text: &str) -> Result<Matcher, String> {
        if text == "*" {
            return Ok(Matcher::Any);
        }
        if text.starts_with('^') && text.ends_with('$') && text.len() >= 2 {
            // The group keeps the anchors outside of an alternation: `^a|b$` would else match "axe".
            let whole = format!("^(?:{})$", &text[1..text.len() - 1]);
            return RegexBuilder::new(&whole)
                .size_limit(PATTERN_SIZE_LIMIT_BYTES)
                .build()
                .map(Matcher::Pattern)
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
            Matcher::Pattern(pattern) => pattern.is_match(value),
        }
    }
}

/// Alternatives: a value matches if one of them does. None at all match nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matchers(Vec<Matcher>);

impl Matchers {
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
                Ok(Matchers(vec![Matcher::parse(value).map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Matchers, A::Error> {
                let mut matchers = Vec::new();
                while let Some(value) = sequence.next_element::<String>()? {
                    matchers.push(Matcher::parse(&value).map_err(de::Error::custom)?);
                }
                Ok(Matchers(matchers))
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
    fn a_pattern_that_would_be_slow_is_refused() {
        assert!(
            Matcher::parse("^(a{100}){100}{100}$")
                .unwrap_err()
                .contains("cannot be read")
        );
    }
}
