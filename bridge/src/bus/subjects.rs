//! Every subject, spelt once.
//!
//! Not here: the tokens themselves (`token`) and which stream keeps what (`objects`).

use super::shard::Shard;
use super::token::{Account, Action, Kind, Provider, Root, TokenError};
use async_nats::Subject;
use im_bridge_sdk::model::ids::{caller_token, channel_token};
use std::fmt::Write as _;

/// Queue group of everything that only the owner of an account answers.
pub const QUEUE_GROUP: &str = "im-bridge";

fn of(account: Option<&Account>) -> String {
    account.map_or("*.*".to_owned(), Account::key)
}

fn named(kind: Option<&Kind>) -> String {
    kind.map_or("*.*".to_owned(), Kind::to_string)
}

/// Makes and reads the subjects below one root.
#[derive(Clone, Debug)]
pub struct Subjects {
    root: Root,
}

/// Why a subject that arrived is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error("subject `{subject}` is not of the form {form}; publish to one that is")]
    Form { subject: String, form: &'static str },
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// A subject that carries a command: request, or durable as its stream keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSubject {
    pub account: Account,
    pub command: Kind,
}

/// A subject that carries a control request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlSubject {
    Account { account: Account, verb: Action },
    Plugin { provider: Provider, verb: Action },
}

/// Room for a subject of usual length while it is written.
const SUBJECT_BYTES: usize = 128;
/// Stands where an alias would: control and state of a plugin, not of an account.
const PLUGIN: &str = "_adapter";

impl Subjects {
    pub fn new(root: Root) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    fn make(&self, rest: std::fmt::Arguments<'_>) -> Subject {
        let mut subject = String::with_capacity(SUBJECT_BYTES);
        write!(subject, "{}.v1.{rest}", self.root).expect("a text grows");
        Subject::from(subject.as_str())
    }

    pub fn event(&self, account: &Account, kind: &Kind, channel: Option<&str>) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!(
            "evt.{provider}.{alias}.{kind}.{}",
            channel_token(channel)
        ))
    }

    /// What all subjects of [`Self::event`] of a kind begin with; the channel's token completes one.
    pub fn event_prefix(&self, account: &Account, kind: &Kind) -> String {
        let Account { provider, alias } = account;
        format!("{}.v1.evt.{provider}.{alias}.{kind}.", self.root)
    }

    /// All events.
    pub fn events(&self) -> Subject {
        self.make(format_args!("evt.>"))
    }

    /// Events of one account, kind and channel; of all where none is given.
    pub fn events_of(
        &self,
        account: Option<&Account>,
        kind: Option<&Kind>,
        channel: Option<&str>,
    ) -> Subject {
        let channel = channel.map_or("*".into(), |channel| channel_token(Some(channel)));
        self.make(format_args!(
            "evt.{}.{}.{channel}",
            of(account),
            named(kind)
        ))
    }

    /// Commands of one account and name; of all where none is given.
    pub fn commands_of(&self, account: Option<&Account>, command: Option<&Kind>) -> Subject {
        self.make(format_args!("cmd.{}.{}", of(account), named(command)))
    }

    /// Results of one account and command; of all where none is given.
    pub fn results_of(&self, account: Option<&Account>, command: Option<&Kind>) -> Subject {
        self.make(format_args!("res.{}.{}.*", of(account), named(command)))
    }

    /// Raw frames of one account, or of all.
    pub fn raw_of(&self, account: Option<&Account>) -> Subject {
        self.make(format_args!("raw.{}", of(account)))
    }

    pub fn command(&self, account: &Account, command: &Kind) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("cmd.{provider}.{alias}.{command}"))
    }

    /// All commands, as they are published.
    pub fn commands(&self) -> Subject {
        self.make(format_args!("cmd.*.*.*.*"))
    }

    /// Where the stream stores a command, as a transform of [`Self::commands`].
    pub fn stored_commands_template(&self, shards: u16) -> Subject {
        self.make(format_args!(
            "cmdq.{{{{partition({shards},1,2)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.{{{{wildcard(3)}}}}.{{{{wildcard(4)}}}}"
        ))
    }

    /// All stored commands of a shard.
    pub fn stored_commands(&self, shard: Shard) -> Subject {
        self.make(format_args!("cmdq.{shard}.>"))
    }

    /// Where a command of this account and name is stored.
    pub fn stored_command(&self, shard: Shard, account: &Account, command: &Kind) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("cmdq.{shard}.{provider}.{alias}.{command}"))
    }

    /// Reads a subject of [`Self::stored_commands`].
    pub fn parse_stored_command(&self, subject: &str) -> Result<CommandSubject, SubjectError> {
        const FORM: &str = "<root>.v1.cmdq.<shard>.<provider>.<account>.<resource>.<action>";
        match self.tokens(subject, "cmdq")[..] {
            [_shard, provider, alias, resource, action] => {
                Self::command_subject(provider, alias, resource, action)
            }
            _ => Err(Self::form(subject, FORM)),
        }
    }

    /// The subject that a stored command was published to, whether its tokens are valid or not.
    pub fn published_command(&self, stored: &str) -> Option<Subject> {
        match self.tokens(stored, "cmdq")[..] {
            [_shard, provider, alias, resource, action] => {
                Some(self.make(format_args!("cmd.{provider}.{alias}.{resource}.{action}")))
            }
            _ => None,
        }
    }

    pub fn request(&self, account: &Account, command: &Kind) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("req.{provider}.{alias}.{command}"))
    }

    /// All requests to an account; its owner subscribes.
    pub fn requests(&self, account: &Account) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("req.{provider}.{alias}.*.*"))
    }

    pub fn parse_request(&self, subject: &str) -> Result<CommandSubject, SubjectError> {
        const FORM: &str = "<root>.v1.req.<provider>.<account>.<resource>.<action>";
        match self.tokens(subject, "req")[..] {
            [provider, alias, resource, action] => {
                Self::command_subject(provider, alias, resource, action)
            }
            _ => Err(Self::form(subject, FORM)),
        }
    }

    /// `source` is the command's.
    pub fn result(&self, account: &Account, command: &Kind, source: Option<&str>) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!(
            "res.{provider}.{alias}.{command}.{}",
            caller_token(source)
        ))
    }

    /// All results.
    pub fn results(&self) -> Subject {
        self.make(format_args!("res.>"))
    }

    /// All results for one caller.
    pub fn results_for(&self, source: Option<&str>) -> Subject {
        self.make(format_args!("res.*.*.*.*.{}", caller_token(source)))
    }

    pub fn control(&self, account: &Account, verb: &Action) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("ctl.{provider}.{alias}.{verb}"))
    }

    /// All control requests to an account; its owner subscribes.
    pub fn controls(&self, account: &Account) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("ctl.{provider}.{alias}.*"))
    }

    /// All control requests to plugins; every replica subscribes.
    pub fn all_plugin_controls(&self) -> Subject {
        self.make(format_args!("ctl.*.{PLUGIN}.*"))
    }

    pub fn plugin_control(&self, provider: &Provider, verb: &Action) -> Subject {
        self.make(format_args!("ctl.{provider}.{PLUGIN}.{verb}"))
    }

    pub fn parse_control(&self, subject: &str) -> Result<ControlSubject, SubjectError> {
        const FORM: &str = "<root>.v1.ctl.<provider>.<account>.<verb>";
        match self.tokens(subject, "ctl")[..] {
            [provider, PLUGIN, verb] => Ok(ControlSubject::Plugin {
                provider: provider.parse()?,
                verb: verb.parse()?,
            }),
            [provider, alias, verb] => Ok(ControlSubject::Account {
                account: Account::new(provider.parse()?, alias.parse()?),
                verb: verb.parse()?,
            }),
            _ => Err(Self::form(subject, FORM)),
        }
    }

    /// Republished by the bucket of account states.
    pub fn states(&self) -> Subject {
        self.make(format_args!("state.>"))
    }

    pub fn plugin_state(&self, provider: &Provider) -> Subject {
        self.make(format_args!("state.{provider}.{PLUGIN}"))
    }

    /// Republished by the bucket of capability documents.
    pub fn capabilities(&self) -> Subject {
        self.make(format_args!("cap.>"))
    }

    pub fn dead_event(&self, account: &Account) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("dlq.evt.{provider}.{alias}"))
    }

    pub fn dead_command(&self, account: &Account) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("dlq.cmd.{provider}.{alias}"))
    }

    /// Dead letter of a command whose subject has tokens that no account can have.
    pub fn dead_stray_command(&self, provider: &str, account: &str) -> Subject {
        self.make(format_args!(
            "dlq.cmd.{}.{}",
            channel_token(Some(provider)),
            channel_token(Some(account))
        ))
    }

    /// All dead letters.
    pub fn dead_letters(&self) -> Subject {
        self.make(format_args!("dlq.>"))
    }

    pub fn raw(&self, account: &Account) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("raw.{provider}.{alias}"))
    }

    /// Request between replicas: a webhook that reached the wrong one.
    pub fn webhook(&self, account: &Account) -> Subject {
        let Account { provider, alias } = account;
        self.make(format_args!("hook.{provider}.{alias}"))
    }

    pub fn service(&self, endpoint: &Action) -> Subject {
        self.make(format_args!("svc.{endpoint}"))
    }

    /// Whether an answer may go where its asker wants it. Not to our own subjects nor to the server's: there it would be said
    /// with this service's rights, not with the asker's.
    pub fn may_be_answered(&self, reply: &str) -> bool {
        let root = self.root.to_string();
        let is_own = reply
            .strip_prefix(&root)
            .is_some_and(|rest| rest.starts_with('.'));
        !is_own && !reply.starts_with('$')
    }

    /// Subjects that no stream may capture: its acknowledgement would race the answer.
    pub fn never_captured(&self) -> [Subject; 5] {
        ["req", "ctl", "hook", "svc", "raw"].map(|kind| self.make(format_args!("{kind}.>")))
    }

    // Subjects with names in place of what differs: what traces show of a subject.

    pub fn event_template(&self, kind: &Kind) -> String {
        format!(
            "{}.v1.evt.{{provider}}.{{account}}.{kind}.{{channel}}",
            self.root
        )
    }

    /// Events of a kind, of whatever account and channel.
    pub fn event_family(&self, provider: &Provider, kind: &Kind) -> String {
        format!("{}.v1.evt.{provider}.{kind}", self.root)
    }

    pub fn command_template(&self, command: &Kind) -> String {
        format!("{}.v1.cmd.{{provider}}.{{account}}.{command}", self.root)
    }

    pub fn request_template(&self, command: &Kind) -> String {
        format!("{}.v1.req.{{provider}}.{{account}}.{command}", self.root)
    }

    pub fn control_template(&self, verb: &Action) -> String {
        format!("{}.v1.ctl.{{provider}}.{{account}}.{verb}", self.root)
    }

    pub fn result_template(&self, command: &Kind) -> String {
        format!(
            "{}.v1.res.{{provider}}.{{account}}.{command}.{{caller}}",
            self.root
        )
    }

    /// Results of a command, of whatever account and caller.
    pub fn result_family(&self, provider: &Provider, command: &Kind) -> String {
        format!("{}.v1.res.{provider}.{command}", self.root)
    }

    pub fn dead_event_template(&self) -> String {
        format!("{}.v1.dlq.evt.{{provider}}.{{account}}", self.root)
    }

    pub fn dead_command_template(&self) -> String {
        format!("{}.v1.dlq.cmd.{{provider}}.{{account}}", self.root)
    }

    /// Dead letters that were events, and those that were commands.
    pub fn dead_families(&self) -> [String; 2] {
        ["evt", "cmd"].map(|kind| format!("{}.v1.dlq.{kind}", self.root))
    }

    /// What comes after `<root>.v1.<kind>.`; empty if it is another subject.
    fn tokens<'s>(&self, subject: &'s str, kind: &str) -> Vec<&'s str> {
        subject
            .strip_prefix(self.root.as_str())
            .and_then(|rest| rest.strip_prefix(".v1."))
            .and_then(|rest| rest.strip_prefix(kind))
            .and_then(|rest| rest.strip_prefix('.'))
            .map(|rest| rest.split('.').collect())
            .unwrap_or_default()
    }

    fn command_subject(
        provider: &str,
        alias: &str,
        resource: &str,
        action: &str,
    ) -> Result<CommandSubject, SubjectError> {
        Ok(CommandSubject {
            account: Account::new(provider.parse()?, alias.parse()?),
            command: Kind {
                resource: resource.parse()?,
                action: action.parse()?,
            },
        })
    }

    fn form(subject: &str, form: &'static str) -> SubjectError {
        SubjectError::Form {
            subject: subject.to_owned(),
            form,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects() -> Subjects {
        Subjects::new("im".parse().unwrap())
    }

    fn account() -> Account {
        Account::new("acme".parse().unwrap(), "shop-1".parse().unwrap())
    }

    #[test]
    fn subjects_are_those_of_the_event_model() {
        let (im, account) = (subjects(), account());
        let kind: Kind = "message.created".parse().unwrap();
        assert_eq!(
            im.event(&account, &kind, Some("a.b")).as_str(),
            "im.v1.evt.acme.shop-1.message.created.a=2Eb"
        );
        assert_eq!(
            im.event_prefix(&account, &kind) + "_",
            im.event(&account, &kind, None).as_str()
        );
        assert_eq!(
            im.event(&account, &kind, None).as_str(),
            "im.v1.evt.acme.shop-1.message.created._"
        );
        assert_eq!(
            im.result(&account, &kind, Some("desk")).as_str(),
            "im.v1.res.acme.shop-1.message.created.desk"
        );
        assert_eq!(
            im.stored_commands_template(64).as_str(),
            "im.v1.cmdq.{{partition(64,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(4)}}"
        );
        assert_eq!(
            im.dead_event(&account).as_str(),
            "im.v1.dlq.evt.acme.shop-1"
        );
    }

    #[test]
    fn subjects_that_were_made_are_read_again() {
        let (im, account) = (subjects(), account());
        let command: Kind = "message.send".parse().unwrap();
        let wanted = CommandSubject {
            account: account.clone(),
            command: command.clone(),
        };
        assert_eq!(
            im.parse_request(&im.request(&account, &command)),
            Ok(wanted.clone())
        );
        let stored = im.stored_command(Shard::of(&account, 64), &account, &command);
        assert_eq!(im.parse_stored_command(&stored), Ok(wanted));
        assert_eq!(
            im.published_command(&stored),
            Some(im.command(&account, &command))
        );
        let verb: Action = "drain".parse().unwrap();
        assert_eq!(
            im.parse_control(&im.control(&account, &verb)),
            Ok(ControlSubject::Account {
                account: account.clone(),
                verb: verb.clone()
            })
        );
        assert_eq!(
            im.parse_control(&im.plugin_control(&account.provider, &verb)),
            Ok(ControlSubject::Plugin {
                provider: account.provider,
                verb
            })
        );
    }

    #[test]
    fn strange_subjects_are_refused() {
        let im = subjects();
        for subject in [
            "",
            "im",
            "im.v1.req",
            "im.v1.req.",
            "im.v1.req.acme.a.message",
            "im.v1.req.acme.a.message.send.more",
            "other.v1.req.acme.a.message.send",
            "imx.v1.req.acme.a.message.send",
            "im.v1.reqx.acme.a.message.send",
            "im.v1.req.ACME.a.message.send",
            "im.v1.req.acme.a.message.se-nd",
        ] {
            assert!(im.parse_request(subject).is_err(), "{subject}");
        }
    }
}
