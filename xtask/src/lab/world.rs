//! Given: a seed and a size. Gives: games, their servers, and the players who come and go. Refuses to know: what any of
//! them calls.

use super::plan::MS;
use super::random::Random;

/// How large a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// One that the unit tests can afford.
    Small,
    /// Eighty servers: every scenario has one of its own.
    Usual,
    /// Four hundred servers with more players: for rates.
    Busy,
    /// As few as one host can play: one server of each of six games.
    Few,
}

/// What servers and players there are.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) length_ns: u64,
    games: Vec<Game>,
    processes: Vec<Process>,
}

/// A game.
#[derive(Debug)]
pub(crate) struct Game {
    pub(crate) name: String,
    pub(crate) universe: u64,
    /// Calls of a player, as a factor.
    pub(crate) busyness: f64,
}

/// A server of a game.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) game: usize,
    /// Since the begin of the plan; negative: it was there long before.
    pub(crate) started_s: i64,
    pub(crate) sessions: Vec<Session>,
}

/// A player who is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) player: u64,
    /// `None` for one who was there before the plan begins.
    pub(crate) join_ns: Option<u64>,
    pub(crate) leave_ns: u64,
}

/// Kinds of games by how much a player of them calls: obby, simulator, role play, tycoon, social.
const BUSYNESS: [f64; 5] = [0.5, 1.2, 1.0, 0.8, 1.5];

/// A server takes so many players at most.
const PLAYERS_MAX: f64 = 50.0;

/// Names under the seed.
const GAMES: u64 = 1;
const PROCESSES: u64 = 2;
const SESSIONS: u64 = 3;

impl World {
    pub(crate) fn new(seed: u64, profile: Profile, length_ns: u64) -> Self {
        let (games, servers, crowd) = match profile {
            Profile::Small => (4, 2, 1.0),
            Profile::Usual => (20, 4, 1.0),
            Profile::Busy => (20, 20, 3.0),
            Profile::Few => (6, 1, 1.0),
        };
        let games: Vec<Game> = (0..games)
            .map(|game| {
                let mut random = Random::of(seed, &[GAMES, game]);
                let busyness = BUSYNESS[random.below(0..BUSYNESS.len() as u64) as usize];
                Game {
                    name: format!("game-{:02}", game + 1),
                    universe: random.below(1_000_000..9_000_000),
                    busyness,
                }
            })
            .collect();
        let processes = (0..games.len() * servers).map(|index| {
            let mut random = Random::of(seed, &[PROCESSES, index as u64]);
            let players = random.log_normal(12.0, 0.6).clamp(3.0, PLAYERS_MAX) * crowd;
            Process {
                pid: 20_000 + index as u32,
                game: index / servers,
                started_s: -(random.below(600..3000) as i64),
                sessions: sessions(seed, index as u64, players as u64, length_ns),
            }
        });
        let processes = processes.collect();
        World { seed, length_ns, games, processes }
    }

    pub(crate) fn processes(&self) -> &[Process] {
        &self.processes
    }

    pub(crate) fn process(&self, index: u32) -> &Process {
        &self.processes[index as usize]
    }

    /// The name of a game by its index.
    pub(crate) fn game_name(&self, game: usize) -> &str {
        &self.games[game].name
    }

    pub(crate) fn game(&self, process: u32) -> &Game {
        &self.games[self.process(process).game]
    }
}

/// Of each place on a server: players follow each other, some minutes each.
fn sessions(seed: u64, process: u64, places: u64, length_ns: u64) -> Vec<Session> {
    let mut sessions = Vec::new();
    for place in 0..places {
        let mut random = Random::of(seed, &[SESSIONS, process, place]);
        // Somebody may be there already, for a part of the session.
        let (mut now_ns, mut join_ns, mut part) = (0, None, random.unit());
        while now_ns < length_ns {
            let length_s = random.log_normal(480.0, 0.8).clamp(30.0, 7200.0);
            let leave_ns = now_ns + (length_s * part * 1e9) as u64;
            let player = random.below(1_000_000..4_000_000_000);
            sessions.push(Session { player, join_ns, leave_ns });
            now_ns = leave_ns + (random.exponential(60.0) * 1e9) as u64 + 500 * MS;
            (join_ns, part) = (Some(now_ns), 1.0);
        }
    }
    sessions
}
