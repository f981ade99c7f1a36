//! A profile, ready to run commands.

use std::ffi::OsString;
use std::fmt;
use std::fs::DirBuilder;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use pinfold_egress::{Decider, Observer, Report};
use pinfold_policy::decide::access;
use pinfold_policy::environment;
use pinfold_policy::gap::Gap;
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::{Access, MechanismChoice, NetAccess, Profile};
use pinfold_policy::resolve::{Context, OWN, Request, builtin, prepare};
use pinfold_sys::plan::{self, Plan};
use pinfold_sys::{Ended, HeadStart, Launch, Network, Witness, files, name, places};

use crate::denials::{DenialOptions, Denials, Keep, Recorder};
use crate::layers::Sources;
use crate::way_out::{self, WayOut};
use crate::{Caller, Error, program};

/// What is asked for, besides the configuration files.
#[derive(Clone, Debug)]
pub struct Options {
    /// Profile, rules and limits of the command line.
    pub request: Request,
    /// `KEY=VALUE` assignments that go over every file.
    pub overrides: Vec<String>,
    /// Who decides about hosts, and where that is recorded.
    pub network: NetworkOptions,
    /// How what the sandbox refuses is looked for.
    pub denials: DenialOptions,
}

/// What accompanies host rules.
#[derive(Clone, Default)]
pub struct NetworkOptions {
    /// The program that answers for hosts with an `ask` rule, with its arguments;
    /// nobody means no. It runs outside.
    pub decider: Vec<OsString>,
    /// Answers instead of a program, on a thread of its own; it may take its time.
    pub decide: Option<Decider>,
    /// Is told of everything that the proxy lets through, refuses and closes, on the
    /// proxy's own thread: it must not block.
    pub observer: Option<Observer>,
    /// The file that the audit is appended to.
    pub audit: Option<PathBuf>,
    /// Whether the program of this process connects its standard streams through the proxy,
    /// given `connect`, a host and a port, as the command line of pinfold does: git calls
    /// ssh with it where nothing else leads ssh to the proxy.
    pub connects: bool,
}

impl fmt::Debug for NetworkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &mut f.debug_struct("NetworkOptions");
        shown.field("decider", &self.decider).field("audit", &self.audit);
        shown.field("connects", &self.connects).finish_non_exhaustive()
    }
}

impl Default for Options {
    /// Nothing but what the configuration says; this grants nothing by itself.
    fn default() -> Options {
        Options {
            request: Request::plain(),
            overrides: Vec::new(),
            network: NetworkOptions::default(),
            denials: DenialOptions::default(),
        }
    }
}

/// A resolved and compiled profile.
#[derive(Clone, Debug)]
pub struct Sandbox {
    profile: Profile,
    plan: Plan,
    gaps: Vec<Gap>,
    caller: Caller,
    network: NetworkOptions,
    denials: DenialOptions,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How the command ended.
    pub ended: Ended,
    /// The name of the profile.
    pub profile: String,
    /// Rules that did not hold, because the user allowed that.
    pub gaps: Vec<Gap>,
    /// What the proxy let through and refused; nothing without host rules.
    pub network: Option<Report>,
    /// What the sandbox refused; nothing when that was not asked for and there are no
    /// host rules.
    pub denials: Option<Denials>,
}

impl Sandbox {
    /// Reads the configuration that applies to `caller`, resolves and compiles.
    ///
    /// # Errors
    /// Every problem of the configuration at once. Gaps are not an error before
    /// [`Sandbox::run`].
    pub fn open(caller: &Caller, options: &Options) -> Result<Sandbox, Error> {
        let profile = resolve(caller, options)?;
        let (plan, gaps) = plan::compile(&profile, &pinfold_sys::facts::host(&profile));
        Ok(Sandbox {
            profile,
            plan,
            gaps,
            caller: caller.clone(),
            network: options.network.clone(),
            denials: options.denials.clone(),
        })
    }

    /// The resolved profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What will be enforced.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The rules that this host cannot enforce exactly.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The variables that a command gets, as `NAME=value`.
    pub fn environment(&self) -> Vec<Vec<u8>> {
        self.environment_with(None)
    }

    /// The same when the proxy is behind a door on the loopback of the host.
    pub(crate) fn environment_with(&self, door: Option<SocketAddr>) -> Vec<Vec<u8>> {
        let mut environment =
            environment::build(&self.profile, self.caller.environment.iter().map(Vec::as_slice));
        if self.profile.network.access == NetAccess::Rules {
            match (plan::network(&self.plan), door) {
                (Network::Own(port), _) => way_out::add_own(&mut environment, port),
                (Network::Host, Some(door)) => {
                    let own = self.network.connects.then(std::env::current_exe);
                    let own = own.and_then(Result::ok);
                    way_out::add_host(&mut environment, door, own.as_deref());
                }
                (Network::Led, Some(door)) => way_out::add_led(&mut environment, door),
                (Network::Host | Network::Led, None) | (Network::NoProxy, _) => {}
            }
        }
        environment
    }

    /// The door of a proxy on the loopback of the host, where the plan needs one, and its address.
    pub(crate) fn door(&self) -> Result<(Option<TcpListener>, Option<SocketAddr>), Error> {
        let door = pinfold_sys::door(&self.plan).map_err(Error::Launch)?;
        let address = door.as_ref().and_then(|door| door.local_addr().ok());
        Ok((door, address))
    }

    /// Runs a command, the program first, and waits for it. Standard input,
    /// output and error are those of this process.
    ///
    /// # Errors
    /// When there are gaps that nobody allowed, or the command could not be
    /// started. Then nothing has been run.
    pub fn run(&self, command: &[OsString]) -> Result<Outcome, Error> {
        self.run_with(command, None)
    }

    /// The same with what [`head_start`] has begun.
    ///
    /// # Errors
    /// As for [`Sandbox::run`].
    pub fn run_with(
        &self,
        command: &[OsString],
        head_start: Option<HeadStart>,
    ) -> Result<Outcome, Error> {
        match self.attempt(command, head_start, None) {
            Err(Error::Launch(why)) if why.is_for_good() && self.may_change() => {
                match self.with_fallback(&why) {
                    Some(sandbox) => sandbox.attempt(command, None, None),
                    None => Err(Error::Launch(why)),
                }
            }
            outcome => outcome,
        }
    }

    /// Who collects what is refused; nobody when nothing is to be told.
    pub(crate) fn recorder(&self, keep: Keep) -> Option<Arc<Recorder>> {
        let told = self.denials.level.is_some() || self.profile.network.access == NetAccess::Rules;
        told.then(|| {
            Recorder::new(&self.profile, &self.plan, (keep, self.denials.observer.clone()))
        })
    }

    /// Who hears of attempts for that.
    pub(crate) fn witness(&self, recorder: Option<&Arc<Recorder>>) -> Option<Witness> {
        let witness = self.denials.level.zip(recorder);
        witness.map(|(level, recorder)| recorder.witness(level))
    }

    /// What has been refused so far.
    pub(crate) fn refused(&self, mut denials: Denials) -> Denials {
        if let Some(why) = plan::untold(&self.plan).filter(|_| self.denials.level.is_some()) {
            denials.unheard = Some(String::from(why));
        }
        denials
    }

    /// Whether another mechanism can do it when the host closes this one.
    pub(crate) fn may_change(&self) -> bool {
        self.profile.mechanism == MechanismChoice::Automatic && plan::has_fallback(&self.plan)
    }

    /// The same for a host that closes the mechanism: with more gaps, as a rule.
    pub(crate) fn with_fallback(&self, why: &pinfold_sys::Error) -> Option<Sandbox> {
        let host = pinfold_sys::facts::fallback(&self.profile, &why.to_string())?;
        let (plan, gaps) = plan::compile(&self.profile, &host);
        Some(Sandbox { plan, gaps, ..self.clone() })
    }

    /// Runs a command with another witness and observer than those that collect what
    /// is refused.
    pub(crate) fn attempt(
        &self,
        command: &[OsString],
        head_start: Option<HeadStart>,
        other: Option<(Witness, Observer)>,
    ) -> Result<Outcome, Error> {
        if let Some(made) = self.with_own_directories() {
            return made.attempt(command, head_start, other);
        }
        self.check_gaps()?;
        let recorder = if other.is_none() { self.recorder(Keep::First) } else { None };
        let (witness, observer) = match other {
            Some((witness, observer)) => (Some(witness), Some(observer)),
            None => (self.witness(recorder.as_ref()), None),
        };
        let asked = command.first().map_or(&[][..], |word| name::bytes(word));
        let (door, address) = self.door()?;
        let environment = self.environment_with(address);
        let launch = Launch {
            programs: program::candidates(asked, &environment)?,
            arguments: command.iter().map(|word| name::bytes(word).to_vec()).collect(),
            environment,
            directory: self.profile.directories.working.clone(),
            kept: self.kept(),
            witness,
            mark: 0,
            door,
        };
        let mut proxy = Ok(None);
        let ended = pinfold_sys::run(&self.plan, &launch, head_start, &mut |doors| {
            proxy = self.way_out(doors, (recorder.as_ref(), observer.clone())).map(Some);
            proxy.is_ok()
        });
        // It ends with the last process inside, not before: refusals still count.
        let network = proxy?.map(WayOut::close);
        match ended {
            Ok(ended) => {
                let (profile, gaps) = (self.profile.name.clone(), self.gaps.clone());
                let denials = recorder.map(|recorder| self.refused(recorder.denials()));
                Ok(Outcome { ended, profile, gaps, network, denials })
            }
            Err(pinfold_sys::Error::Execute { code }) => {
                Err(program::failure(asked, &launch.programs, &launch.directory, code))
            }
            Err(error) => Err(Error::Launch(error)),
        }
    }

    /// The same after pinfold's own directories have been made, where a command could
    /// make them otherwise; nothing when there is none to be made. What is there is
    /// mounted, what is not could only be watched.
    pub(crate) fn with_own_directories(&self) -> Option<Sandbox> {
        if matches!(self.plan, Plan::Unconfined(_)) {
            return None;
        }
        let policy = &self.profile.filesystem;
        let writable = |path: &AbsPath| access(policy, path).0 == Access::Write;
        let around = |path: &AbsPath| {
            let mut above = path.ancestors().skip(1);
            above.find(pinfold_sys::facts::exists).is_some_and(|above| writable(&above))
        };
        let own = self.caller.own_directories();
        let directories = own.into_iter().filter(|path| {
            access(policy, path).1.is_some_and(|rule| rule.origin == OWN)
                // Where nothing above can be written, nothing need be looked at.
                && path.ancestors().skip(1).any(|above| writable(&above))
                && !pinfold_sys::facts::exists(path)
                && around(path)
        });
        let mut any = false;
        for directory in directories {
            // Where this fails, the command cannot make it either.
            any |= files::private_directory(DirBuilder::new().recursive(true))
                .create(name::path(&directory))
                .is_ok();
        }
        any.then(|| {
            let tried = "they were tried before";
            let fallback = plan::is_fallback(&self.plan)
                .then(|| pinfold_sys::facts::fallback(&self.profile, tried));
            let host =
                fallback.flatten().unwrap_or_else(|| pinfold_sys::facts::host(&self.profile));
            let (plan, gaps) = plan::compile(&self.profile, &host);
            Sandbox { plan, gaps, ..self.clone() }
        })
    }

    /// Refuses to go on with gaps that nobody allowed.
    pub(crate) fn check_gaps(&self) -> Result<(), Error> {
        let refused: Vec<Gap> = self.gaps.iter().filter(|gap| !self.allows(gap)).cloned().collect();
        if refused.is_empty() { Ok(()) } else { Err(Error::Gaps(refused)) }
    }

    /// Starts the proxy behind these doors.
    pub(crate) fn way_out(
        &self,
        doors: pinfold_sys::OpenDoors,
        (recorder, observer): (Option<&Arc<Recorder>>, Option<Observer>),
    ) -> Result<WayOut, Error> {
        let own = observer.or_else(|| recorder.map(Recorder::observer));
        let observer = both(own, self.network.observer.clone());
        if let Some(recorder) = recorder {
            recorder.number_network(&doors.proxy);
        }
        let way = WayOut::open((&self.profile, &self.caller, &self.network), observer, doors)?;
        if let Some(recorder) = recorder {
            recorder.name_addresses(way.names());
        }
        Ok(way)
    }

    /// Where things are kept that were taken away from protected paths.
    pub(crate) fn kept(&self) -> Option<pinfold_policy::path::AbsPath> {
        self.caller.kept()
    }

    fn allows(&self, gap: &Gap) -> bool {
        self.profile.allowed_gaps.contains_key(gap.name)
    }
}

/// Tells two observers, as far as there are any.
fn both(first: Option<Observer>, second: Option<Observer>) -> Option<Observer> {
    match (first, second) {
        (Some(first), Some(second)) => Some(Arc::new(move |event| {
            first(event);
            second(event);
        })),
        (first, second) => first.or(second),
    }
}

/// Starts what nearly every sandbox needs, before the profile is known, unless these
/// options rule it out. It prepares itself while the profile is read, and is meant for
/// [`Sandbox::run_with`] in the same thread; dropping it ends it.
pub fn head_start(options: &Options) -> Option<HeadStart> {
    let Request { profile, hosts, .. } = &options.request;
    let unconfined = profile.as_deref() == Some(builtin::DANGER);
    let open = hosts.iter().any(|rule| matches!(rule.as_str(), "on" | "open"));
    if unconfined || open { None } else { HeadStart::begin() }
}

/// The profile that applies to a caller.
fn resolve(caller: &Caller, options: &Options) -> Result<Profile, Error> {
    let sources = Sources::read(caller, &options.overrides)?;
    let mut context = Context {
        system: plan::SYSTEM,
        volumes: places::volumes(),
        working: caller.working.clone(),
        home: caller.home(),
        tmpdir: caller.directory(places::TEMPORARY).filter(pinfold_sys::facts::is_directory),
        slash_tmp: places::SLASH_TMP,
        repositories: Vec::new(),
        git_files: caller.git_files(),
        own: caller.own(),
    };
    let prepared =
        prepare(sources.merged, &options.request, &context).map_err(Error::Configuration)?;
    context.repositories = prepared
        .workspace_roots(&context)
        .iter() // What has no `.git` needs no second look.
        .filter(|root| **root != caller.working || sources.git_here)
        .map(|root| pinfold_sys::facts::repository(root, context.home.as_ref(), &context.git_files))
        .collect();
    prepared
        .resolve(sources.untrusted, sources.requirements.as_ref(), &options.request, &context)
        .map_err(Error::Configuration)
}
