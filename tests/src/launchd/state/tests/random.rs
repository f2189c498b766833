//! Whatever happens in whatever order: no call is answered twice or forgotten, no process is lost,
//! nothing is due that was due already. A failing seed is in the message and replays exactly.

use std::collections::BTreeSet;

use super::*;

const SEEDS: u64 = 300;
const STEPS: u32 = 200;

/// A small generator, so that a seed is all there is to a run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

const KEYS: [&str; 8] = [
    "",
    "<key>RunAtLoad</key><true/>",
    "<key>KeepAlive</key><true/>",
    "<key>KeepAlive</key><dict><key>Crashed</key><true/></dict><key>StartInterval</key><integer>7</integer>",
    "<key>KeepAlive</key><dict><key>OtherJobEnabled</key><dict><key>b</key><false/></dict></dict>",
    "<key>KeepAlive</key><dict><key>AfterInitialDemand</key><true/></dict>",
    "<key>KeepAlive</key><dict><key>PathState</key><dict><key>/flag</key><true/></dict></dict>",
    "<key>LimitLoadToSessionType</key><array><string>Aqua</string><string>Background</string></array>\
     <key>RunAtLoad</key><true/><key>ExitTimeOut</key><integer>0</integer>",
];

const LINES: [&str; 22] = [
    "bootstrap gui/501 /job.plist",
    "bootstrap user/501 /job.plist",
    "load -w /job.plist",
    "unload /job.plist",
    "unload -w /job.plist",
    "bootout gui/501/a",
    "bootout --wait gui/501/b",
    "bootout gui/501 /job.plist",
    "bootout user/501",
    "kickstart gui/501/a",
    "kickstart -k -p gui/501/b",
    "kickstart -p gui/501/a",
    "kickstart -p gui/501/b",
    "kickstart -p user/501/a",
    "bootout gui/501/b",
    "enable gui/501/a",
    "disable gui/501/b",
    "start a",
    "stop b",
    "remove a",
    "submit -l b -- /bin/echo",
    "print gui/501/a",
];

struct Run {
    dice: Dice,
    launchd: Launchd,
    now: Duration,
    next_pid: i32,
    living: BTreeSet<i32>,
    ended: BTreeSet<i32>,
    open: BTreeSet<u64>,
    next_call: u64,
    is_over: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let macos = [11, 15, 26][usize::try_from(seed % 3).unwrap()];
        let World { launchd, .. } = World::new(macos);
        Self {
            dice: Dice(seed),
            launchd,
            now: Duration::ZERO,
            next_pid: 100,
            living: BTreeSet::new(),
            ended: BTreeSet::new(),
            open: BTreeSet::new(),
            next_call: 0,
            is_over: false,
        }
    }

    fn event(&mut self, event: Event) {
        for effect in self.launchd.handle(event, Moment::at(self.now)) {
            match effect {
                Effect::Reply { call, .. } => {
                    assert!(self.open.remove(&call.0), "answered twice, or never asked: {call:?}");
                }
                Effect::Spawn { target, .. } => self.spawn(target),
                Effect::Signal { pid, signal } => {
                    let pid = pid.as_raw_nonzero().get();
                    let is_known = self.living.contains(&pid) || self.ended.contains(&pid);
                    assert!(is_known, "signal {signal:?} for a stranger, {pid}");
                }
                Effect::Reap { pid, .. } => {
                    assert!(
                        self.ended.remove(&pid.as_raw_nonzero().get()),
                        "{pid:?} has not ended"
                    );
                }
                // Whoever called is gone with the machine.
                Effect::Booted => self.open.clear(),
                Effect::End => self.is_over = true,
                Effect::Record { .. } | Effect::KeepOverrides(_) => {}
            }
        }
        let late = self.launchd.next_deadline().filter(|at| *at <= Moment::at(self.now));
        assert_eq!(late, None, "due already at {:?}", self.now);
    }

    fn spawn(&mut self, target: ServiceTarget) {
        if self.dice.below(30) == 0 {
            return self.event(Event::SpawnFailed { target, reason: "no luck".to_owned() });
        }
        let raw = self.next_pid;
        self.next_pid += 1;
        self.living.insert(raw);
        self.event(Event::Spawned { target, pid: Pid::from_raw(raw).unwrap() });
    }

    fn exit(&mut self, end: ProcessEnd) {
        let living: Vec<i32> = self.living.iter().copied().collect();
        if living.is_empty() {
            return;
        }
        let raw = self.dice.pick(&living);
        self.living.remove(&raw);
        self.ended.insert(raw);
        self.event(Event::Exited { pid: Pid::from_raw(raw).unwrap(), end });
    }

    fn plist(&mut self) -> LoadedPlist {
        let mut definition = job(self.dice.pick(&KEYS));
        self.dice.pick(&["a", "b"]).clone_into(&mut definition.label);
        LoadedPlist { path: PathBuf::from("/job.plist"), job: Ok(definition) }
    }

    fn call(&mut self) {
        let line = self.dice.pick(&LINES);
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let Ok(command) = Command::parse(&argv, self.launchd.settings.macos) else { return };
        let plists = if command.plists().is_empty() { Vec::new() } else { vec![self.plist()] };
        let privilege = self.dice.pick(&[Privilege::Owner, Privilege::Root]);
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.open.insert(call.0);
        let caller = Who { privilege, session: None };
        self.event(Event::Called { call, caller, command, plists });
    }

    fn step(&mut self) {
        let target = ServiceTarget { domain: Domain::Gui(UID), label: "a".to_owned() };
        match self.dice.below(25) {
            0..=9 => self.call(),
            10 | 11 => self.exit(ProcessEnd::Exited(0)),
            12 => self.exit(ProcessEnd::Exited(1)),
            13 => self.exit(ProcessEnd::Signalled(11)),
            14 => {
                let count = u32::from(self.dice.below(4) == 0);
                self.event(Event::Mood(Mood::OnDemandCount(count)));
            }
            15 => {
                let on = self.dice.below(4) == 0;
                self.event(Event::Mood(Mood::LowPower(on)));
            }
            16 => {
                let verdict = self.dice.pick(&[
                    Verdict::Allowed,
                    Verdict::Allowed,
                    Verdict::Allowed,
                    Verdict::KilledAfterSpawn,
                    Verdict::SpawnRefused,
                ]);
                self.event(Event::Judged { label: "a".to_owned(), verdict });
            }
            17 => self.event(Event::CalendarDue(target)),
            18 => self.event(Event::SetupEvent(target)),
            19 => self.event(Event::ThrownOut(target)),
            20 => {
                if self.dice.below(4) == 0 {
                    self.event(Event::LoggedOut);
                }
            }
            21 => {
                let plists = vec![self.plist()];
                self.event(Event::LoggedIn { plists });
            }
            22 => {
                let slept = Duration::from_secs(self.dice.below(100));
                self.event(Event::Woke { slept });
            }
            23 => {
                let is_there = self.dice.below(2) == 0;
                self.launchd.see(is_there.then(|| PathBuf::from("/flag")).into_iter().collect());
            }
            _ => {
                if self.dice.below(20) == 0 {
                    let after = [Domain::User(UID), Domain::Gui(UID)].into();
                    self.event(Event::RebootRequested(after));
                }
            }
        }
        self.now += Duration::from_millis(self.dice.below(4000));
        self.event(Event::Tick);
    }

    fn end(&mut self) {
        self.event(Event::ShutdownRequested);
        for _again in 0..1000 {
            if self.is_over {
                break;
            }
            self.now += Duration::from_secs(1);
            self.event(Event::Tick);
            self.exit(ProcessEnd::Signalled(9));
        }
        assert!(self.is_over, "it does not end");
        while !self.living.is_empty() {
            self.exit(ProcessEnd::Signalled(9));
        }
        assert!(self.ended.is_empty(), "not collected: {:?}", self.ended);
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
    }
}

#[test]
fn no_order_of_events_loses_a_call_or_a_process() {
    for seed in 0..SEEDS {
        let run = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _step in 0..STEPS {
                run.step();
            }
            run.end();
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}
