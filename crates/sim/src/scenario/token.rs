//! Words of a script's line.

/// One word: bare, or `name=value`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Token {
    /// What stands before `=`; empty for a bare word.
    pub(crate) name: String,
    /// The value, with quotes and escapes resolved.
    pub(crate) value: Vec<u8>,
    /// It was quoted, so it is never one of the signs `*`, `-` and `@`.
    pub(crate) quoted: bool,
}

impl Token {
    /// The value as text.
    pub(crate) fn text(&self) -> Result<&str, String> {
        std::str::from_utf8(&self.value).map_err(|_| format!("{}: not UTF-8", self.name))
    }

    /// The value as a number, decimal or `0x…`.
    pub(crate) fn number(&self) -> Result<u32, String> {
        let text = self.text()?;
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => text.parse(),
        };
        parsed.map_err(|_| format!("{}={text}: a number is expected", self.name))
    }

    /// The value as a boolean, 0 or 1.
    pub(crate) fn flag(&self) -> Result<bool, String> {
        match self.text()? {
            "0" => Ok(false),
            "1" => Ok(true),
            other => Err(format!("{}={other}: 0 or 1 is expected", self.name)),
        }
    }
}

/// Splits a line into words.
pub(crate) fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (token, after) = token(rest)?;
        found.push(token);
        rest = after.trim_start();
    }
    Ok(found)
}

fn token(text: &str) -> Result<(Token, &str), String> {
    let mut token = Token::default();
    let mut rest = text;
    if !rest.starts_with('"') {
        let end = rest.find([' ', '=', '"']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(value) = after.strip_prefix('=') {
            word.clone_into(&mut token.name);
            rest = value;
        } else {
            token.value.extend_from_slice(word.as_bytes());
            rest = after;
            if !rest.starts_with('"') {
                return Ok((token, rest));
            }
        }
    }
    while let Some(first) = rest.chars().next().filter(|first| *first != ' ') {
        if first == '"' {
            token.quoted = true;
            let (value, after) = quoted(rest.get(1..).unwrap_or_default())?;
            let (times, after) = repetition(after)?;
            for _ in 0..times {
                token.value.extend_from_slice(&value);
            }
            rest = after;
        } else {
            let end = rest.find([' ', '"']).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            token.value.extend_from_slice(word.as_bytes());
            rest = after;
        }
    }
    Ok((token, rest))
}

/// `*1000` behind a closing quote repeats the string.
fn repetition(text: &str) -> Result<(usize, &str), String> {
    let Some(rest) = text.strip_prefix('*') else { return Ok((1, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    let times = digits.parse().map_err(|_| "a number is expected behind \"…\"*".to_owned())?;
    Ok((times, after))
}

/// The string up to its closing quote, and what follows.
fn quoted(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut value = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, character)) = chars.next() {
        match character {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => {
                let (_, escape) = chars.next().ok_or("a \\ at the end")?;
                match escape {
                    'n' => value.push(b'\n'),
                    '"' | '\\' => value.push(escape as u8),
                    'x' => {
                        let digits: String = chars.by_ref().take(2).map(|(_, c)| c).collect();
                        let byte = u8::from_str_radix(&digits, 16);
                        value.push(byte.map_err(|_| format!("\\x{digits} is not a byte"))?);
                    }
                    'u' => {
                        let digits: String =
                            chars.by_ref().take_while(|(_, c)| *c != '}').map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(digits.trim_start_matches('{'), 16);
                        let found = code.ok().and_then(char::from_u32);
                        let found =
                            found.ok_or_else(|| format!("\\u{digits}}} is no character"))?;
                        value.extend_from_slice(found.to_string().as_bytes());
                    }
                    other => return Err(format!("\\{other} is no escape")),
                }
            }
            _ => value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err("a quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_names_quotes_escapes_and_repetitions() {
        let found =
            tokens(r#"CONNECT id=7  payload="a b\x00\u{fc}" "raw" big="xy"*3 a=b=c"#).unwrap();
        let pair = |token: &Token| (token.name.clone(), token.value.clone());
        assert_eq!(pair(&found[0]), (String::new(), b"CONNECT".to_vec()));
        assert_eq!(pair(&found[1]), ("id".into(), b"7".to_vec()));
        assert_eq!(pair(&found[2]), ("payload".into(), b"a b\0\xc3\xbc".to_vec()));
        assert_eq!(pair(&found[3]), (String::new(), b"raw".to_vec()));
        assert_eq!(pair(&found[4]), ("big".into(), b"xyxyxy".to_vec()));
        assert_eq!(pair(&found[5]), ("a".into(), b"b=c".to_vec()));
        assert!(tokens("a=\"b").is_err());
    }
}
