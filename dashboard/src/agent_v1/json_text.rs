//! Where a text stops being JSON, in the words and at the position that a v1 dashboard gives.
//!
//! Used only on texts that could not be read: it looks for the first mistake and builds nothing.

/// How deep values may be nested, as for the reader that has refused the text before.
const MAX_DEPTH: usize = 128;

/// A mistake in a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Counted in characters.
    pub(super) position: usize,
    pub(super) message: &'static str,
}

type Checked = Result<(), Mistake>;

/// The first mistake. A text that was refused for a number's size or a half character has none: then it is at the start.
pub(super) fn first_mistake(text: &str) -> Mistake {
    let mut scanner = Scanner { characters: text.chars().collect(), position: 0 };
    match scanner.document() {
        Ok(()) => Mistake { position: 0, message: "Expecting value" },
        Err(mistake) => mistake,
    }
}

struct Scanner {
    characters: Vec<char>,
    position: usize,
}

impl Scanner {
    fn document(&mut self) -> Checked {
        self.skip_space();
        self.value(0)?;
        self.skip_space();
        if self.peek().is_some() { Err(self.mistake("Extra data")) } else { Ok(()) }
    }

    fn value(&mut self, depth: usize) -> Checked {
        match self.peek() {
            Some('{') if depth < MAX_DEPTH => self.object(depth + 1),
            Some('[') if depth < MAX_DEPTH => self.array(depth + 1),
            Some('"') => self.string(),
            Some('-' | '0'..='9') => self.number(),
            Some(_) | None => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Checked {
        self.position += 1;
        self.skip_space();
        if self.take('}') {
            return Ok(());
        }
        loop {
            self.member(depth)?;
            self.skip_space();
            if self.take('}') {
                return Ok(());
            }
            self.comma()?;
        }
    }

    fn member(&mut self, depth: usize) -> Checked {
        if self.peek() != Some('"') {
            return Err(self.mistake("Expecting property name enclosed in double quotes"));
        }
        self.string()?;
        self.skip_space();
        if !self.take(':') {
            return Err(self.mistake("Expecting ':' delimiter"));
        }
        self.skip_space();
        self.value(depth)
    }

    fn array(&mut self, depth: usize) -> Checked {
        self.position += 1;
        self.skip_space();
        if self.take(']') {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.skip_space();
            if self.take(']') {
                return Ok(());
            }
            self.comma()?;
        }
    }

    fn comma(&mut self) -> Checked {
        if !self.take(',') {
            return Err(self.mistake("Expecting ',' delimiter"));
        }
        self.skip_space();
        Ok(())
    }

    fn string(&mut self) -> Checked {
        let unterminated =
            Mistake { position: self.position, message: "Unterminated string starting at" };
        self.position += 1;
        loop {
            match self.peek() {
                None => return Err(unterminated),
                Some('"') => break,
                Some('\\') => self.escape(unterminated)?,
                Some(control) if control < ' ' => {
                    return Err(self.mistake("Invalid control character at"));
                }
                Some(_) => self.position += 1,
            }
        }
        self.position += 1;
        Ok(())
    }

    fn escape(&mut self, unterminated: Mistake) -> Checked {
        match self.characters.get(self.position + 1) {
            None => Err(unterminated),
            Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
                self.position += 2;
                Ok(())
            }
            Some('u') => {
                self.position += 1;
                let digits = self.characters.get(self.position + 1..self.position + 5);
                if digits.is_some_and(|digits| digits.iter().all(char::is_ascii_hexdigit)) {
                    self.position += 5;
                    Ok(())
                } else {
                    Err(self.mistake("Invalid \\uXXXX escape"))
                }
            }
            Some(_) => Err(self.mistake("Invalid \\escape")),
        }
    }

    fn number(&mut self) -> Checked {
        let begin = self.position;
        self.take('-');
        if !self.take('0') && self.digits() == 0 {
            self.position = begin;
            return self.word();
        }
        self.optional_part(|scanner| scanner.take('.'));
        self.optional_part(Self::exponent_mark);
        Ok(())
    }

    fn exponent_mark(&mut self) -> bool {
        let is_there = self.take('e') || self.take('E');
        if is_there && !self.take('+') {
            self.take('-');
        }
        is_there
    }

    /// A part of a number that counts only if its mark is followed by digits.
    fn optional_part(&mut self, mark: fn(&mut Self) -> bool) {
        let begin = self.position;
        if !(mark(self) && self.digits() > 0) {
            self.position = begin;
        }
    }

    fn digits(&mut self) -> usize {
        let begin = self.position;
        while self.peek().is_some_and(|character| character.is_ascii_digit()) {
            self.position += 1;
        }
        self.position - begin
    }

    /// A literal; the last three are no JSON, but a v1 dashboard reads on after them.
    fn word(&mut self) -> Checked {
        let rest = &self.characters[self.position..];
        let words = ["null", "true", "false", "NaN", "Infinity", "-Infinity"];
        let begins_with = |word: &str| {
            rest.len() >= word.len() && word.chars().eq(rest[..word.len()].iter().copied())
        };
        match words.into_iter().find(|word| begins_with(word)) {
            Some(word) => {
                self.position += word.len();
                Ok(())
            }
            None => Err(self.mistake("Expecting value")),
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.position += 1;
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.position += usize::from(is_there);
        is_there
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.position).copied()
    }

    fn mistake(&self, message: &'static str) -> Mistake {
        Mistake { position: self.position, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_for_other_reasons_still_has_an_answer() {
        for text in [&"[".repeat(500), "1e999", "\"\\ud800\"", "NaN"] {
            assert_eq!(first_mistake(text).message, "Expecting value", "{text}");
        }
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, position, message) in [
            ("1.5e", 3, "Extra data"),
            ("[1.5e+3, 0, -0.1E-2,", 20, "Expecting value"),
            ("-x", 0, "Expecting value"),
            ("00", 1, "Extra data"),
        ] {
            assert_eq!(first_mistake(text), Mistake { position, message }, "{text}");
        }
    }
}
