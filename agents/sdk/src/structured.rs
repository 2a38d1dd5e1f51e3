//! Structured output: a Rust type's JSON Schema goes with the request, the host checks the answer against it, one repair round
//! shows the model its mistake, and then the failure is honest.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Agent;
use crate::bindings::homeaiops::agent::model::{self, Message, Reply, Request, Role, Stop};
use crate::bindings::homeaiops::agent::types::Error;

/// One question to a model.
pub struct Prompt<'a> {
    /// Who asks; its persona is the system message.
    pub me: &'a Agent,
    /// What is asked.
    pub text: String,
    /// Most tokens of the answer. Generous: an answer cut short fits no schema.
    pub max_output_tokens: u32,
    /// Sampling temperature.
    pub temperature: f32,
}

/// What asking has taken so far, for those who must leave something for later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Host calls.
    pub calls: u32,
    /// Tokens that models wrote.
    pub output_tokens: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The host or the model's server said no.
    Refused(Error),
    /// The model answered, twice, with something that does not fit.
    Unusable {
        /// What is wrong with it.
        why: String,
        /// What it said the second time.
        said: String,
    },
    /// The asking type has an unbounded string or list: a mistake of the agent's author.
    Unbounded(String),
}

impl Prompt<'_> {
    /// Asks for a `T`. `narrow` may restrict the schema to what holds today, such as the colleagues of the brief.
    ///
    /// # Errors
    /// [`Failure`], after one repair round.
    pub fn fill<T: JsonSchema + DeserializeOwned>(&self, narrow: impl FnOnce(&mut Value)) -> Result<T, Failure> {
        self.fill_counted(narrow, &mut Spent::default())
    }

    /// The same; `spent` grows by what it took, also if nothing came of it.
    ///
    /// # Errors
    /// [`Failure`], after one repair round.
    pub fn fill_counted<T: JsonSchema + DeserializeOwned>(
        &self,
        narrow: impl FnOnce(&mut Value),
        spent: &mut Spent,
    ) -> Result<T, Failure> {
        let mut schema = schemars::schema_for!(T).to_value();
        narrow(&mut schema);
        bounded(&schema, "")?;
        let mut messages = vec![message(Role::System, self.me.manifest.persona.clone()), message(Role::User, self.text.clone())];
        let first = self.complete(&messages, &schema, spent)?;
        let why = match read::<T>(&first) {
            Ok(value) => return Ok(value),
            Err(why) => why,
        };
        messages.push(message(Role::Assistant, first.text));
        messages.push(message(
            Role::User,
            format!("That does not fit: {why}. Answer again with the JSON object only, complete and within every length."),
        ));
        let second = self.complete(&messages, &schema, spent)?;
        read(&second).map_err(|why| Failure::Unusable { why, said: excerpt(&second.text) })
    }

    fn complete(&self, messages: &[Message], schema: &Value, spent: &mut Spent) -> Result<Reply, Failure> {
        let request = Request {
            group: self.me.group().to_owned(),
            messages: messages.to_vec(),
            tools: Vec::new(),
            schema: Some(schema.to_string()),
            temperature: Some(self.temperature),
            max_output_tokens: self.max_output_tokens,
            extra: Vec::new(),
        };
        spent.calls = spent.calls.saturating_add(1);
        let reply = model::complete(&request).map_err(Failure::Refused)?;
        spent.output_tokens = spent.output_tokens.saturating_add(reply.usage.output);
        Ok(reply)
    }
}

/// Restricts the string property `name` of an object schema to `words`; a property that may be absent may still be null.
pub fn enumerate(schema: &mut Value, name: &str, words: &[&str]) {
    let Some(property) = schema.pointer_mut("/properties").and_then(|all| all.get_mut(name)) else { return };
    let mut allowed: Vec<Value> = words.iter().map(|word| Value::from(*word)).collect();
    if property.get("type").is_some_and(Value::is_array) {
        allowed.push(Value::Null);
    }
    *property = serde_json::json!({ "enum": allowed });
}

fn message(role: Role, text: String) -> Message {
    Message { role, text, calls: Vec::new(), answers: None }
}

fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T, String> {
    if let Stop::Length = reply.stop {
        return Err("it was cut off at the most tokens allowed".into());
    }
    if let Some((_, why)) = reply.extra.iter().find(|(key, _)| key == "schema-violation") {
        return Err(why.clone());
    }
    serde_json::from_str(&reply.text).map_err(|error| error.to_string())
}

/// A model that may write for ever will: every string and list has a maximum.
fn bounded(schema: &Value, path: &str) -> Result<(), Failure> {
    let types = |name: &str| match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(all)) => all.iter().any(|one| one == name),
        _ => false,
    };
    let closed = schema.get("enum").is_some() || schema.get("const").is_some();
    if (types("string") && schema.get("maxLength").is_none() && !closed) || (types("array") && schema.get("maxItems").is_none()) {
        return Err(Failure::Unbounded(path.to_owned()));
    }
    match schema {
        Value::Object(keys) => keys.iter().try_for_each(|(key, value)| bounded(value, &format!("{path}/{key}"))),
        Value::Array(items) => items.iter().try_for_each(|value| bounded(value, path)),
        _ => Ok(()),
    }
}

fn excerpt(text: &str) -> String {
    const MOST: usize = 300;
    let mut cut: String = text.chars().take(MOST).collect();
    if text.chars().count() > MOST {
        cut.push('…');
    }
    cut
}
