//! Given: nothing. Gives: the operations that the servers of the world offer: how long they take, what they answer, and
//! what the catalogue of the world says of them. Refuses to know: who calls them.

use rotrace::catalogue::{Catalogue, Table};
use rotrace::cost::{Prices, Weights};
use rotrace::exchange::signals::Content;

/// The catalogue of the world, as the product reads it.
pub(crate) const CATALOGUE: &str = include_str!("catalogue.toml");

/// Prices of the world: weights of the product, classes by the catalogue.
pub(crate) fn prices() -> anyhow::Result<Prices> {
    let table = Table::parse(CATALOGUE).map_err(|fault| anyhow::anyhow!("catalogue.toml: {fault}"))?;
    let catalogue = Catalogue::new(&[], vec![table]);
    Prices::new(Weights::default(), std::sync::Arc::new(catalogue))
        .map_err(|unknown| anyhow::anyhow!("{unknown}"))
}

/// An operation, as an index into [`APIS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Api(pub(crate) u16);

/// What is true of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) method: &'static str,
    /// Authority and template.
    pub(crate) endpoint: &'static str,
    /// Median time until the first byte, in milliseconds; times are log-normal.
    pub(crate) median_ms: f64,
    /// Bytes of an answer.
    pub(crate) body_bytes: u32,
    pub(crate) content: Content,
    /// Bytes of a request's body.
    pub(crate) sent_bytes: u32,
}

macro_rules! apis {
    ($($name:ident: $method:literal $endpoint:literal $median_ms:literal $body:literal $content:ident $sent:literal;)*) => {
        /// Indices of operations in the order of the table; only their names matter.
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "names of constants below")]
        #[derive(Clone, Copy)]
        enum Index { $($name),* }

        impl Api {
            $(pub(crate) const $name: Api = Api(Index::$name as u16);)*
        }

        /// Every operation of the world.
        pub(crate) const APIS: &[Terms] = &[$(Terms {
            method: $method,
            endpoint: $endpoint,
            median_ms: $median_ms,
            body_bytes: $body,
            content: Content::$content,
            sent_bytes: $sent,
        }),*];
    };
}

apis! {
    USER: "GET" "users.roblox.com/v1/users/{id}" 35.0 310 Text 0;
    USERS: "POST" "users.roblox.com/v1/users" 45.0 1_900 Text 240;
    FRIENDS: "GET" "friends.roblox.com/v1/users/{id}/friends" 55.0 1_200 Text 0;
    PRESENCE: "POST" "presence.roblox.com/v1/presence/users" 40.0 900 Text 200;
    GROUP: "GET" "groups.roblox.com/v1/groups/{id}" 40.0 500 Text 0;
    MEMBERS: "GET" "groups.roblox.com/v1/groups/{id}/users" 50.0 1_100 Text 0;
    BADGE: "GET" "badges.roblox.com/v1/badges/{id}" 38.0 420 Text 0;
    INVENTORY: "GET" "apis.roblox.com/cloud/v2/users/{id}/inventory-items" 60.0 1_300 Text 0;
    THUMBNAILS: "POST" "thumbnails.roblox.com/v1/batch" 45.0 1_000 Text 300;
    ENTRY: "GET" "apis.roblox.com/cloud/v2/universes/{id}/data-stores/{store}/entries/{entry}" 25.0 800 Text 0;
    SAVE: "PATCH" "apis.roblox.com/cloud/v2/universes/{id}/data-stores/{store}/entries/{entry}" 35.0 120 Text 900;
    RANKING: "GET" "apis.roblox.com/cloud/v2/universes/{id}/ordered-data-stores/{store}/entries" 45.0 1_000 Text 0;
    QUEUE: "GET" "apis.roblox.com/cloud/v2/universes/{id}/memory-store/queues/{queue}/items:read" 20.0 14 Text 0;
    PUBLISH: "POST" "apis.roblox.com/cloud/v2/universes/{id}:publishMessage" 30.0 2 Text 220;
    OPERATION: "GET" "apis.roblox.com/cloud/v2/operations/{operation}" 25.0 160 Text 0;
    PURCHASE: "POST" "economy.roblox.com/v1/purchases/{id}" 90.0 200 Text 180;
    CONFIG: "GET" "config.games.test/v1/configs/{id}" 20.0 1_200 Text 0;
    WORLD_STATE: "GET" "state.games.test/v1/worlds/{id}" 30.0 80_000 Text 0;
    LIVE_EVENT: "GET" "live.games.test/v1/events/{id}" 25.0 450 Text 0;
    TRACK: "POST" "analytics.games.test/v1/events" 18.0 2 Text 300;
    TRACK_MANY: "POST" "analytics.games.test/v1/events:batch" 25.0 2 Text 4_000;
    SHOP_OLD: "GET" "shop.games.test/v1/items/{id}" 35.0 480 Text 0;
    SHOP: "GET" "shop.games.test/v2/items/{id}" 30.0 480 Text 0;
    NEWS_OLD: "GET" "old.games.test/v1/news/{id}" 12.0 0 Unknown 0;
    NEWS_MOVED: "GET" "www.games.test/v1/news/{id}" 12.0 0 Unknown 0;
    NEWS: "GET" "news.games.test/v1/news/{id}" 25.0 700 Text 0;
    LISTING: "GET" "catalog.games.test/v1/listings/{id}" 80.0 20_000 Text 0;
    ASSET: "GET" "assets.games.test/v1/assets/{id}" 40.0 2_000_000 Binary 0;
    SIGNED: "GET" "cdn.games.test/v1/files/{token}" 15.0 400_000 Binary 0;
    DOWNLOAD: "GET" "assets.games.test/v1/downloads/{id}" 15.0 0 Unknown 0;
    HEARTBEAT: "POST" "match.games.test/v1/servers/{id}/heartbeat" 10.0 2 Text 90;
    HEALTH: "GET" "match.games.test/health" 3.0 2 Text 0;
    TICKET: "POST" "match.games.test/v1/tickets" 25.0 150 Text 350;
    SESSION: "GET" "auth.games.test/v1/sessions/{id}" 420.0 300 Text 0;
    TOKEN: "POST" "auth.games.test/v1/token" 60.0 500 Text 150;
    PROFILE: "GET" "profile.games.test/v1/profiles/{id}" 450.0 600 Text 0;
    BAG: "GET" "bag.games.test/v1/bags/{id}" 480.0 900 Text 0;
    TROPHIES: "GET" "trophies.games.test/v1/trophies/{id}" 430.0 500 Text 0;
    REPORT: "GET" "reports.games.test/v1/reports/{id}" 300.0 900 Text 0;
    REPORT_A: "GET" "reports.games.test/v1/daily" 60.0 900 Text 0;
    REPORT_B: "GET" "reports.games.test/v1/weekly" 60.0 900 Text 0;
    REPORT_C: "GET" "reports.games.test/v1/monthly" 60.0 900 Text 0;
    REPORT_D: "GET" "reports.games.test/v1/season" 60.0 900 Text 0;
    REPORT_E: "GET" "reports.games.test/v1/players" 60.0 900 Text 0;
    REPORT_F: "GET" "reports.games.test/v1/trades" 60.0 900 Text 0;
    REPORT_G: "GET" "reports.games.test/v1/quests" 60.0 900 Text 0;
    REPORT_H: "GET" "reports.games.test/v1/clans" 60.0 900 Text 0;
    REPORT_I: "GET" "reports.games.test/v1/pets" 60.0 900 Text 0;
    REPORT_J: "GET" "reports.games.test/v1/zones" 60.0 900 Text 0;
    REPORT_K: "GET" "reports.games.test/v1/raids" 60.0 900 Text 0;
    REPORT_L: "GET" "reports.games.test/v1/events" 60.0 900 Text 0;
    SHARD_A: "GET" "s1.games.test/v1/state/{id}" 20.0 300 Text 0;
    SHARD_B: "GET" "s2.games.test/v1/state/{id}" 20.0 300 Text 0;
    SHARD_C: "GET" "s3.games.test/v1/state/{id}" 20.0 300 Text 0;
    SHARD_D: "GET" "s4.games.test/v1/state/{id}" 20.0 300 Text 0;
    SHARD_E: "GET" "s5.games.test/v1/state/{id}" 20.0 300 Text 0;
    SHARD_F: "GET" "s6.games.test/v1/state/{id}" 20.0 300 Text 0;
    SHARD_G: "GET" "s7.games.test/v1/state/{id}" 20.0 300 Text 0;
    SHARD_H: "GET" "s8.games.test/v1/state/{id}" 20.0 300 Text 0;
    GLOBAL_USER: "GET" "global.games.test/v1/users/{id}" 30.0 300 Text 0;
    DOCUMENT: "GET" "docs.games.test/v1/documents/{document}" 30.0 600 Text 0;
    EXPERIMENT: "GET" "labs.games.test/v1/players/{id}" 25.0 350 Text 0;
}

impl Api {
    pub(crate) const REPORTS: [Api; 12] = [
        Api::REPORT_A,
        Api::REPORT_B,
        Api::REPORT_C,
        Api::REPORT_D,
        Api::REPORT_E,
        Api::REPORT_F,
        Api::REPORT_G,
        Api::REPORT_H,
        Api::REPORT_I,
        Api::REPORT_J,
        Api::REPORT_K,
        Api::REPORT_L,
    ];

    pub(crate) const SHARDS: [Api; 8] = [
        Api::SHARD_A,
        Api::SHARD_B,
        Api::SHARD_C,
        Api::SHARD_D,
        Api::SHARD_E,
        Api::SHARD_F,
        Api::SHARD_G,
        Api::SHARD_H,
    ];

    pub(crate) fn terms(self) -> &'static Terms {
        &APIS[usize::from(self.0)]
    }

    pub(crate) fn authority(self) -> &'static str {
        let endpoint = self.terms().endpoint;
        endpoint.split('/').next().unwrap_or(endpoint)
    }

    /// The path with its parameters set, the first to the first place.
    pub(crate) fn path(self, parameters: &[&dyn std::fmt::Display]) -> String {
        let template = self.terms().endpoint.trim_start_matches(|c| c != '/');
        let mut path = String::with_capacity(template.len() + 16);
        let mut parameters = parameters.iter();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (_, after) = after.split_once('}').unwrap_or(("", after));
            path.push_str(before);
            path.push_str(&parameters.next().map_or_else(|| "0".to_owned(), ToString::to_string));
            rest = after;
        }
        path.push_str(rest);
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_read_and_knows_batches() {
        let prices = prices().expect("the catalogue of the world");
        let user = Api::USER.terms();
        let api = prices.catalogue().find(user.endpoint, user.method).expect("a row");
        assert!(api.batch.is_some());
        let price = prices.of_endpoint(Api::SAVE.terms().endpoint, "PATCH").expect("a class");
        assert_eq!(price.list(None).cu(), 10.0);
    }

    #[test]
    fn paths_have_their_parameters() {
        assert_eq!(Api::ENTRY.path(&[&1, &"a", &"p2"]), "/cloud/v2/universes/1/data-stores/a/entries/p2");
        assert_eq!(Api::PUBLISH.path(&[&7]), "/cloud/v2/universes/7:publishMessage");
        assert_eq!(Api::HEALTH.path(&[]), "/health");
    }
}
