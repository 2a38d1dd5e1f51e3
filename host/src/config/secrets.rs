//! Which secrets a configuration holds, so that nobody is ever told one.

use super::Config;

impl Config {
    /// Every secret that it holds, with the name by which it may be spoken of.
    #[must_use]
    pub fn secrets(&self) -> Vec<(String, String)> {
        let keys =
            self.inference.groups.iter().filter_map(|(name, group)| Some((format!("key of {name}"), group.api_key.clone()?)));
        let servers = self.mcp.iter().flat_map(super::Mcp::servers);
        let gateway = servers.filter_map(|(name, server)| Some((format!("token of {name}"), server.token.clone()?)));
        let headers = || self.telemetry.headers.iter();
        let whole = headers().map(|(name, value)| (format!("header {name} of telemetry"), value.clone()));
        // What stands after `Bearer ` or `Basic ` is the secret.
        let bare = headers().filter_map(|(name, value)| {
            let (_, secret) = value.split_once(' ')?;
            Some((format!("header {name} of telemetry"), secret.to_owned()))
        });
        let tokens = self.auth.tokens.iter().filter_map(|token| Some((format!("token of {}", token.name), token.value.clone()?)));
        let database = url::Url::parse(&self.database_url()).ok();
        let password = database.and_then(|url| Some(("password of the database".to_owned(), decoded(url.password()?))));
        let approvals = self.approvals.key.iter().map(|key| ("key of approvals".to_owned(), key.clone()));
        let all = keys.chain(gateway).chain(whole).chain(bare).chain(tokens).chain(password).chain(approvals);
        all.chain(self.sinks.secrets()).collect()
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
