//! Bounds of texts, each service's in its own unit, and forms.
//!
//! Must never cut a character in two, or cut without saying so.

/// What stands where something was cut off.
const CUT: &str = " [cut]";

/// What a service counts.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Chars,
}

impl Unit {
    pub(super) fn count(self, text: &str) -> usize {
        match self {
            Self::Bytes => text.len(),
            Self::Chars => text.chars().count(),
        }
    }

    fn start(self, text: &str, most: usize) -> &str {
        let end = match self {
            Self::Bytes => text.floor_char_boundary(most),
            Self::Chars => text.char_indices().nth(most).map_or(text.len(), |(at, _)| at),
        };
        text.get(..end).unwrap_or_default()
    }
}

/// The text, at most so long.
pub(super) fn cut(text: &str, most: usize, unit: Unit) -> String {
    if unit.count(text) <= most {
        return text.to_owned();
    }
    format!("{}{CUT}", unit.start(text, most.saturating_sub(unit.count(CUT))))
}

/// The text, at most so long, with the task's id in it: what arrives twice can be known by it.
pub(super) fn with_task(text: &str, task: &str, most: usize, unit: Unit) -> String {
    let whole = cut(text, most, unit);
    if whole.contains(task) {
        return whole;
    }
    let tail = format!("\n\nTask {task}");
    let room = most.saturating_sub(unit.count(&tail));
    format!("{}{tail}", cut(text, room, unit)).trim_start().to_owned()
}

/// `application/x-www-form-urlencoded`
pub(super) fn form(fields: &[(&'static str, String)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        form.append_pair(name, value);
    }
    form.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("äöü", 6, Unit::Bytes), "äöü");
        assert_eq!(cut("äöü", 3, Unit::Chars), "äöü");
        assert_eq!(cut(&"ä".repeat(10), 9, Unit::Bytes), "ä [cut]");
        assert_eq!(cut(&"ä".repeat(10), 9, Unit::Chars), "äää [cut]");
        for most in 6..40 {
            let text = "aä€😀".repeat(5);
            assert!(cut(&text, most, Unit::Bytes).len() <= most);
            assert!(cut(&text, most, Unit::Chars).chars().count() <= most);
        }
    }

    #[test]
    fn the_task_stands_in_the_text_once_and_is_not_cut_off() {
        assert_eq!(with_task("Task 01TASK is done", "01TASK", 100, Unit::Chars), "Task 01TASK is done");
        assert_eq!(with_task("done", "01TASK", 100, Unit::Chars), "done\n\nTask 01TASK");
        assert_eq!(with_task("", "01TASK", 100, Unit::Chars), "Task 01TASK");
        let long = format!("{} 01TASK", "x".repeat(100));
        let cut = with_task(&long, "01TASK", 50, Unit::Bytes);
        assert!(cut.len() == 50 && cut.ends_with("x [cut]\n\nTask 01TASK"), "{cut}");
    }

    #[test]
    fn a_form_keeps_what_it_is_given() {
        let fields = [("to", "[8]".to_owned()), ("content", "a&b=ä\n+ 1".to_owned())];
        let form = form(&fields);
        assert_eq!(form, "to=%5B8%5D&content=a%26b%3D%C3%A4%0A%2B+1");
    }
}
