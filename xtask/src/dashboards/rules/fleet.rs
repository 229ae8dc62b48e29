//! Given: the table of metrics. Gives: the rules for what no host sees alone: servers that call in the same second, and
//! games whose players cost far more than those of others. Refuses to know: how many hosts there are.

use super::super::query::{RULE_1H, RULE_10M, family};
use super::{Alert, Group, Recording};

/// First calls a minute from which they are judged: a process has at most four in three minutes, and one when it comes once
/// a minute, so there are about ten processes. With that many over ten minutes, a length of 0.8 does not come by chance
/// (Rayleigh's test: n R² is above 64, and 6.9 is enough for one in a thousand).
const MIN_FIRST_CALLS: u32 = 10;

/// Mean direction of first calls from which servers call together.
const MIN_RESULTANT: f64 = 0.8;

/// Servers of a game that call an endpoint in the same second of the minute.
pub(super) fn synchronized_burst() -> Group {
    const CALLS: &str = "game_endpoint:rotrace_first_calls:rate10m";
    const RESULTANT: &str = "game_endpoint:rotrace_first_calls:resultant_rate10m";
    let towards = |second: &str| {
        let matcher = format!("second=\"{second}\"");
        RULE_10M.rate_of("rotrace_first_call_directions_total", &matcher, "game, endpoint")
    };
    let axis = |one: &str, other: &str| format!("({} - {}) ^ 2", towards(one), towards(other));
    Group {
        name: "rotrace-synchronized-burst",
        comment: "Each first call is a direction on the circle of a minute; of all hosts, they are added along two axes. The \
                  length of\nthe sum over their number is 1 when all fall in one second and near 0 when they are spread \
                  (Rayleigh). The clocks of\nthe hosts have to agree to a second or so.",
        recordings: vec![
            Recording {
                record: CALLS,
                expression: RULE_10M.rate("rotrace_first_calls_total", "game, endpoint"),
            },
            Recording {
                record: RESULTANT,
                expression: format!("sqrt({} + {}) / {CALLS}", axis("0", "30"), axis("15", "45")),
            },
        ],
        alerts: vec![Alert {
            name: "RotraceSynchronizedBurst",
            expression: format!("{RESULTANT} >= {MIN_RESULTANT} and 60 * {CALLS} >= {MIN_FIRST_CALLS}"),
            lasting: "5m",
            severity: "info",
            summary: "servers of {{ $labels.game }} call {{ $labels.endpoint }} in the same second of the minute",
            description: "The service has to be large enough for that second. Let each server wait for a random time before \
                          it begins, and vary its pauses.",
        }],
    }
}

/// Peers from which a game is compared with them.
const MIN_PEERS: u32 = 20;

/// Players at one time, or player-hours an hour, from which a game is judged.
const MIN_PLAYERS: u32 = 30;

/// Robust standard deviations above the median (Iglewicz and Hoaglin 1993).
const MIN_Z: f64 = 3.5;

/// Times the median, too: where games are much alike, a small difference has many deviations.
const MIN_RATIO: f64 = 3.0;

/// Games whose players cost far more than those of other games.
pub(super) fn player_cost_outlier() -> Group {
    const COST: &str = "game:rotrace_cost_units_per_player_hour:log2_rate1h";
    const MEDIAN: &str = "games:rotrace_cost_units_per_player_hour:log2_median_rate1h";
    const DEVIATION: &str = "games:rotrace_cost_units_per_player_hour:log2_mad_rate1h";
    const Z: &str = "game:rotrace_cost_units_per_player_hour:robust_z_rate1h";
    let players = RULE_1H.rate("rotrace_player_seconds_total", "game");
    let cost = RULE_1H.per_player_hour("game");
    let known_since = family("rotrace_player_seconds_total").name();
    let recording = |record, expression| Recording { record, expression };
    Group {
        name: "rotrace-player-cost-outlier",
        comment: "Costs of games differ by factors, so they are compared as logarithms: to the median of all games, in units of \
                  the\nmedian absolute deviation (times 0.6745, which makes it a standard deviation of a normal \
                  distribution). PromQL has no\nsuch function, but the quantile of the distances is one. Where most games \
                  cost the same, the deviation is 0 and whoever\ncosts more is infinitely far away: then the ratio alone \
                  decides. To compare within groups of games, add a label for the\ngroup to the first rule and `by` it in \
                  the others.",
        recordings: vec![
            recording(COST, format!("log2(({cost}) > 0) and on (game) ({players} >= {MIN_PLAYERS})")),
            recording(MEDIAN, format!("quantile(0.5, {COST})")),
            recording(DEVIATION, format!("quantile(0.5, abs({COST} - scalar({MEDIAN})))")),
            recording(Z, format!("0.6745 * ({COST} - scalar({MEDIAN})) / scalar({DEVIATION})")),
        ],
        alerts: vec![Alert {
            name: "RotracePlayerCostOutlier",
            // A game that is new is not like the others yet.
            expression: format!(
                "{Z} >= {MIN_Z} and {COST} >= scalar({MEDIAN}) + {:.3} and on () (count({COST}) >= {MIN_PEERS}) \
                 and on (game) (sum by (game) ({known_since} offset 1d))",
                MIN_RATIO.log2(),
            ),
            lasting: "1h",
            severity: "info",
            summary: "a player of {{ $labels.game }} costs far more than one of other games",
            description: "What it costs above others is no waste by itself. The dashboard of waste shows its endpoints and \
                          patterns.",
        }],
    }
}
