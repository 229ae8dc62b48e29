//! Given: the summary, and what its calls were priced by. Gives: what each game cost, and whether their order would be
//! another if an assumed weight were: as text, and as a part of the summary. Refuses to know: how a price is made.

use std::collections::BTreeMap;

use serde::Serialize;

use super::text::{Colour, Style, paint};
use super::visible::escape;
use crate::cost::sensitivity::{Change, GAMES_RANKED, MODEL_DRIVEN_BELOW, Shift, Usage};
use crate::cost::{MicroCu, Mode, Prices};
use crate::exchange::Role;
use crate::summary::{Series, Summary, UNKNOWN_GAME};

/// What calls made cost, as scripts get it.
#[derive(Serialize)]
pub(super) struct CostObject<'a> {
    mode: String,
    version: String,
    games: Vec<GameCost<'a>>,
    ranking: Option<Ranking>,
}

#[derive(Serialize)]
struct GameCost<'a> {
    game: Option<&'a str>,
    cost_units: f64,
    /// `null` in a mode that does not price by class.
    classes: Option<BTreeMap<Box<str>, f64>>,
}

/// How the order of the games depends on assumed weights.
#[derive(Serialize)]
struct Ranking {
    /// Kendall's τ-b of the weight that matters most; `null` where no assumed weight priced anything.
    tau_min: Option<f64>,
    model_driven: bool,
    shifts: Vec<ShiftObject>,
}

#[derive(Serialize)]
struct ShiftObject {
    class: Box<str>,
    change: &'static str,
    tau: f64,
}

/// The part of the report that says what calls made cost; empty when they cost nothing.
pub fn cost_report(summary: &Summary, prices: &Prices, style: Style) -> String {
    let games = games(summary);
    if games.is_empty() {
        return String::new();
    }
    let title = format!("cost of calls made, by {}", prices.model());
    let mut out = format!("\n{}\n", paint(style, Colour::Bold, &title));
    for (name, cost) in games.iter().take(GAMES_RANKED) {
        out.push_str(&format!("  {:>12.3} CU  {}\n", cost.cu(), escape(name)));
    }
    if let Some(more) = games.len().checked_sub(GAMES_RANKED).filter(|&more| more > 0) {
        out.push_str(&format!("  and {more} that cost less\n"));
    }
    if let Some(shifts) = shifts(summary, prices)
        && games.len() > 1
    {
        out.push_str(&format!("  {}\n", verdict(&shifts)));
    }
    out
}

/// The same for scripts, as a part of the summary.
pub(super) fn object<'a>(summary: &'a Summary, prices: &Prices) -> CostObject<'a> {
    let model = prices.model();
    let by_class = (model.mode == Mode::List).then(|| usage(summary, prices));
    let games = games(summary);
    let is_ranked = games.len() > 1;
    CostObject {
        mode: model.mode.to_string(),
        version: model.label(),
        games: games.into_iter().map(|(name, cost)| game_cost(name, cost, by_class.as_ref())).collect(),
        ranking: shifts(summary, prices).filter(|_| is_ranked).map(|shifts| Ranking {
            tau_min: shifts.first().map(|shift| rounded(shift.tau)),
            model_driven: is_model_driven(&shifts),
            shifts: shifts.into_iter().map(shift_object).collect(),
        }),
    }
}

fn game_cost<'a>(name: &'a str, cost: MicroCu, by_class: Option<&Usage>) -> GameCost<'a> {
    let classes =
        |usage: &Usage| usage.classes(name).map(|(class, cost)| (class.into(), cost.cu())).collect();
    GameCost {
        game: (name != UNKNOWN_GAME).then_some(name),
        cost_units: cost.cu(),
        classes: by_class.map(classes),
    }
}

fn shift_object(shift: Shift) -> ShiftObject {
    ShiftObject { change: name(shift.change), tau: rounded(shift.tau), class: shift.class }
}

fn verdict(shifts: &[Shift]) -> String {
    let Some(Shift { class, change, tau }) = shifts.first() else {
        return "their order hangs on public prices alone".to_owned();
    };
    let least = format!("Kendall's tau is {tau:.2} with `{class}` {}", name(*change));
    if is_model_driven(shifts) {
        format!("their order is the model's, not theirs: it changes with an assumed weight: {least}")
    } else {
        format!("their order holds with every assumed weight halved or doubled: {least}, or more")
    }
}

/// The shifts stand in order, the least agreement first.
fn is_model_driven(shifts: &[Shift]) -> bool {
    shifts.first().is_some_and(|shift| shift.tau < MODEL_DRIVEN_BELOW)
}

fn name(change: Change) -> &'static str {
    match change {
        Change::Halved => "halved",
        Change::Doubled => "doubled",
    }
}

fn rounded(tau: f64) -> f64 {
    (tau * 1000.0).round() / 1000.0
}

/// What each game cost, the dearest first; games as dear stay in the order of their names.
fn games(summary: &Summary) -> Vec<(&str, MicroCu)> {
    let cost = |game: &crate::summary::Game| {
        game.series(Role::Client).map(|(_, series)| MicroCu(series.cost_ucu)).sum::<MicroCu>()
    };
    let games = summary.games().map(|(name, game)| (name, cost(game)));
    let mut games: Vec<_> = games.filter(|(_, cost)| *cost > MicroCu::default()).collect();
    games.sort_by_key(|&(_, cost)| std::cmp::Reverse(cost));
    games
}

/// `None` in a mode in which weights of classes are not all that decides.
fn shifts(summary: &Summary, prices: &Prices) -> Option<Vec<Shift>> {
    (prices.model().mode == Mode::List).then(|| usage(summary, prices).sensitivity(prices.weights()))
}

fn usage(summary: &Summary, prices: &Prices) -> Usage {
    let mut usage = Usage::default();
    for (name, game) in summary.games() {
        for (endpoint, series) in game.series(Role::Client) {
            let parts = by_class(endpoint, series, prices);
            parts.into_iter().for_each(|(class, cost)| usage.add(name, class, cost));
        }
    }
    usage
}

/// What an endpoint cost, by class. A class belongs to a method, and costs are kept by endpoint: they are divided as
/// calls times weights are.
fn by_class<'a>(endpoint: &str, series: &Series, prices: &'a Prices) -> BTreeMap<&'a str, MicroCu> {
    let mut shares = BTreeMap::<&str, u64>::new();
    for (method, _, calls) in series.calls() {
        let Some(price) = prices.of_endpoint(endpoint, method.name()) else { continue };
        let share = shares.entry(&price.class().name).or_default();
        *share = share.saturating_add(price.list(None).times(calls).0);
    }
    let all = shares.values().fold(0_u64, |all, &share| all.saturating_add(share));
    let cost = MicroCu(series.cost_ucu);
    shares.into_iter().map(|(class, share)| (class, cost.ratio(share, all))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalogue::{Catalogue, Table};
    use crate::cost::Weights;
    use crate::summary::fixture::call;

    /// `GET /a` is a message, `GET /b` a page of a list and `GET /c` a public price.
    fn prices() -> Prices {
        let api = |path: &str, class: &str| {
            format!(
                "[[api]]\nauthority = \"api\"\nendpoint = \"{path}\"\nmethod = \"GET\"\nclass = \"{class}\"\n"
            )
        };
        let text = [("/a", "message"), ("/b", "list_page"), ("/c", "data_store_get")];
        let text: String = text.iter().map(|(path, class)| api(path, class)).collect();
        let table = Table::parse(&text).unwrap();
        Prices::new(Weights::default(), Arc::new(Catalogue::new(&[], vec![table]))).unwrap()
    }

    fn summary(calls: &[(&str, &str, u64)]) -> Summary {
        let mut prices = prices();
        let mut summary = Summary::default();
        for &(game, endpoint, times) in calls {
            for _ in 0..times {
                let mut call = call(game, endpoint);
                call.cost_ucu = prices.price(&call).map(|cost| cost.0);
                summary.record(&call);
            }
        }
        summary
    }

    fn json(summary: &Summary) -> serde_json::Value {
        serde_json::to_value(object(summary, &prices())).unwrap()
    }

    #[test]
    fn nothing_that_was_priced_is_no_report() {
        assert_eq!(cost_report(&Summary::default(), &prices(), Style::Plain), "");
        let line = json(&Summary::default());
        assert_eq!((&line["games"], &line["ranking"]), (&serde_json::json!([]), &serde_json::Value::Null));
    }

    #[test]
    fn a_ranking_by_public_prices_hangs_on_nothing() {
        let summary = summary(&[("chess", "api/c", 3), ("go", "api/c", 2)]);
        let text = cost_report(&summary, &prices(), Style::Plain);
        assert!(
            text.ends_with(
                "3.000 CU  chess\n         2.000 CU  go\n  their order hangs on public prices alone\n"
            ),
            "{text}"
        );
        let line = json(&summary);
        assert_eq!(line["games"][0]["classes"], serde_json::json!({"data_store_get": 3.0}));
        assert_eq!(
            line["ranking"],
            serde_json::json!({"tau_min": null, "model_driven": false, "shifts": []})
        );
    }

    #[test]
    fn a_ranking_that_an_assumption_turns_over_says_so() {
        let summary = summary(&[("chess", "api/b", 5), ("go", "api/c", 9)]);
        let text = cost_report(&summary, &prices(), Style::Plain);
        assert!(text.contains("their order is the model's"), "{text}");
        let line = json(&summary);
        assert_eq!(line["ranking"]["model_driven"], true);
        assert_eq!(line["ranking"]["shifts"][0]["class"], "list_page");
        assert_eq!(
            (&line["ranking"]["tau_min"], &line["ranking"]["shifts"][0]["change"]),
            (&serde_json::json!(-1.0), &serde_json::json!("halved"))
        );
    }

    #[test]
    fn a_ranking_that_holds_says_how_well() {
        let summary = summary(&[("chess", "api/b", 50), ("go", "api/c", 2)]);
        let text = cost_report(&summary, &prices(), Style::Plain);
        assert!(
            text.contains(
                "their order holds with every assumed weight halved or doubled: Kendall's tau is 1.00"
            ),
            "{text}"
        );
        assert_eq!(json(&summary)["ranking"]["model_driven"], false);
    }

    #[test]
    fn one_game_is_no_ranking() {
        let summary = summary(&[("chess", "api/b", 5)]);
        assert!(cost_report(&summary, &prices(), Style::Plain).ends_with("chess\n"));
        assert_eq!(json(&summary)["ranking"], serde_json::Value::Null);
    }
}
