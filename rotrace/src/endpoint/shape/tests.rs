//! Given: paths. Gives: whether their shapes are those that a reader would name. Refuses to know: how.

use proptest::prelude::*;

use super::*;
use crate::endpoint::canonical;

fn template(path: &str) -> String {
    let mut template = String::new();
    push_template(path, &mut template);
    template
}

fn check(path: &str, expect: &str) {
    let canonical = canonical::path(path);
    assert_eq!(template(&canonical), expect, "{path}");
    assert_eq!(template(expect), expect, "the template of a template");
}

#[test]
fn numbers() {
    check("/v1/users/156", "/v1/users/{id}");
    check("/v1/users/1/posts/0", "/v1/users/{id}/posts/{id}");
    check("/v1/prices/19.99", "/v1/prices/{id}");
    check("/v1/offsets/-5", "/v1/offsets/{id}");
    check("/v1/thumbnails/420x420", "/v1/thumbnails/{id}");
    check("/v1/users/1,2,3", "/v1/users/{id}");
    check("/v1/ranges/10-20", "/v1/ranges/{id}");
    check("/156", "/{id}");
}

#[test]
fn versions() {
    check("/v1/users", "/v1/users");
    check("/V2.1beta3/users", "/V2.1beta3/users");
    check("/apis/apps/v1beta1/deployments", "/apis/apps/v1beta1/deployments");
    check("/3/movie/550", "/3/movie/{id}");
    check("/1.1/search/tweets.json", "/1.1/search/tweets.json");
    check("/2010-04-01/Accounts", "/2010-04-01/Accounts");
    check("/2010-04-01", "/{date}");
    check("/3", "/{id}");
    check("/movies/3/list", "/movies/{id}/list");
    check("/v1234/users", "/{id}/users");
    check("/v123.456.789/users", "/{id}/users");
}

#[test]
fn identifiers() {
    check("/s/123e4567-e89b-12d3-a456-426614174000", "/s/{uuid}");
    check("/s/123E4567-E89B-12D3-A456-426614174000/x", "/s/{uuid}/x");
    check("/s/123e4567e89b12d3a456426614174000", "/s/{hash}");
    check("/commits/a1b2c3d", "/commits/{hash}");
    check("/orders/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/orders/{token}");
    check("/v1/charges/ch_3MmlLrLkdIwHu7ix0snN0B15", "/v1/charges/{token}");
    check("/shorten/aB3dE9", "/shorten/{id}");
    check("/d/xqzRkWvBtGjHpLmNfDcSyX/edit", "/d/{token}/edit");
    check("/verify/eyJhbGciOiJub25lIn0.eyJhIjoiYiJ9.c2ln", "/verify/{token}");
    check("/items/sword-of-dawn-1234567", "/items/{id}");
    check("/topics/trade-4411-8812", "/topics/{id}");
}

#[test]
fn dates_addresses_and_languages() {
    check("/events/2026-08-22", "/events/{date}");
    check("/events/2026-08-22T10:15:00Z", "/events/{date}");
    check("/events/20260822T101500Z", "/events/{date}");
    check("/at/10:15", "/at/{date}");
    check("/at/10:15:30", "/at/{date}");
    check("/events/2026-13-01", "/events/{id}");
    check("/ip/10.0.0.1", "/ip/{ip}");
    check("/ip/2001:db8::1", "/ip/{ip}");
    check("/mac/00:1a:2b:3c:4d:5e", "/mac/{ip}");
    check("/docs/zh-cn/setup", "/docs/{locale}/setup");
    check("/docs/pt_BR", "/docs/{locale}");
    check("/docs/es-419", "/docs/{locale}");
    check("/docs/zh-Hant-TW", "/docs/{locale}");
    check("/lists/to-do", "/lists/to-do");
    check("/locations/us-central1/x", "/locations/{locale}/x");
    check("/locations/europe-west4-b", "/locations/{locale}");
    check("/locations/us-users2", "/locations/us-users2");
}

#[test]
fn text_that_no_route_has() {
    check("/tags/caf%C3%A9", "/tags/{name}");
    check("/tags/a%20b", "/tags/{name}");
    check("/users/jane@mail.x", "/users/{email}");
    check("/users/jane%40mail.x:publish", "/users/{email}");
    check("/tags/a=b", "/tags/{name}");
    check("/tags/{slug}", "/tags/{name}");
    check("/tags/{", "/tags/{name}");
    check("/tags/**/x", "/tags/{name}/x");
    check("/tags/a:b:c", "/tags/{name}");
    check(&format!("/tags/{}", "ab-".repeat(30)), "/tags/{name}");
}

#[test]
fn verbs_and_keys() {
    check("/v1/universes/2077:publishMessage", "/v1/universes/{id}:publishMessage");
    check("/v1/text:annotate", "/v1/text:annotate");
    check("/v1/x/2077:9a", "/v1/x/{name}");
    check("/Products(123)/Category", "/Products({id})/Category");
    check("/odata/Users('jane')", "/odata/Users({name})");
    check("/odata/Users(123e4567-e89b-12d3-a456-426614174000)", "/odata/Users({uuid})");
    check("/odata/Nearest()", "/odata/Nearest()");
    check("/odata/a1b2c3d4(1)", "/odata/{name}");
}

#[test]
fn files() {
    check("/index.html", "/index.html");
    check("/static/main.3f2a9cd1.js", "/static/main.{hash}.js");
    check("/t2/avatar_156_420x420.png", "/t2/avatar_{id}_{id}.png");
    check("/users/156.json", "/users/{id}.json");
    check("/a/123e4567-e89b-12d3-a456-426614174000.png", "/a/{uuid}.png");
    check("/i18n/de-AT.json", "/i18n/{locale}.json");
    check("/api/hello.world", "/api/hello.world");
    check("/a/a1.b2.c3.d4.e5.f6.g7.js", "/a/{token}.js");
    check(&format!("/a/a{}.js", "_1x2".repeat(12)), "/a/{token}.js");
}

#[test]
fn words_with_digits() {
    for literal in [
        "/v1/avatar-3d",
        "/oauth2/token",
        "/s3/presign",
        "/api/k8s/pods",
        "/web3/eth_getBlockByNumber",
        "/crypto/sha256/verify",
        "/twirp/inventory.v1.Inventory/GetItems",
        "/v1/games/multiget-playability-status",
        "/encodings/utf-8",
        "/.well-known/jwks.json",
        "/store/PlayerData_v2",
        "/orders/user12",
    ] {
        check(literal, literal);
    }
    check("/hosts/srv-us-west-2-db12", "/hosts/{id}");
}

/// Paths as the public descriptions of GitHub, Stripe, Kubernetes, Twilio and others have them, with made-up values.
#[test]
fn public_interfaces() {
    check("/repos/octo/hello/commits/6dcb09b5b57875f3", "/repos/octo/hello/commits/{hash}");
    check("/repos/octo/hello/issues/1347/comments", "/repos/octo/hello/issues/{id}/comments");
    check("/repos/octo/hello/git/refs", "/repos/octo/hello/git/refs");
    check("/user/codespaces/secrets/public-key", "/user/codespaces/secrets/public-key");
    check("/v1/payment_intents/pi_3MtwBwLkdIwHu7ix28a3tqPa/confirm", "/v1/payment_intents/{token}/confirm");
    check("/v1/billing_portal/configurations", "/v1/billing_portal/configurations");
    check("/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/pods");
    check("/apis/rbac.authorization.k8s.io/v1/roles", "/apis/rbac.authorization.k8s.io/v1/roles");
    check("/apis/flowcontrol.apiserver.k8s.io/v1beta3", "/apis/flowcontrol.apiserver.k8s.io/v1beta3");
    check("/logs/kube-apiserver.log", "/logs/kube-apiserver.log");
    check("/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef.json", "/2010-04-01/Accounts/{hash}.json");
    check("/v2/Services/VA0123456789abcdef0123456789abcdef/Entities", "/v2/Services/{token}/Entities");
    check("/storage/v1/b/my-bucket/o", "/storage/v1/b/my-bucket/o");
    check(
        "/compute/v1/projects/p/zones/us-east1-b/instances",
        "/compute/v1/projects/p/zones/{locale}/instances",
    );
    check("/v1/projects/p/databases/d:exportDocuments", "/v1/projects/p/databases/d:exportDocuments");
    check("/youtube/v3/liveBroadcasts/bind", "/youtube/v3/liveBroadcasts/bind");
    check("/lol/summoner/v4/summoners/by-account/x9", "/lol/summoner/v4/summoners/by-account/x9");
    check("/ISteamUser/GetPlayerSummaries/v0002", "/ISteamUser/GetPlayerSummaries/{id}");
    check("/v8.0/me/messages", "/v8.0/me/messages");
    check("/api/v10/channels/175928847299117063/messages", "/api/v10/channels/{id}/messages");
    check("/bot123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11/getMe", "/{name}/getMe");
}

#[test]
fn what_is_no_path_is_left_alone() {
    check("*", "*");
    check("/", "/");
    assert_eq!(template(""), "");
    check(&"/a".repeat(17), &format!("{}/**", "/a".repeat(15)));
}

/// What a label must not show, of the segments of a template.
fn leaks(segment: &str) -> bool {
    let longest = segment.split(|character: char| !character.is_ascii_digit()).map(str::len).max();
    segment.contains('@')
        || segment.contains("%40")
        || (segment.starts_with("eyJ") && segment.contains('.'))
        || longest > Some(LITERAL_DIGITS)
        || segment.split(|character: char| !character.is_ascii_hexdigit() && character != '-').any(is_uuid)
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        "[a-zA-Z0-9._~:-]{0,24}",
        "[a-z]{1,8}[-_.][0-9]{1,9}(\\.json|\\.js)?",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(:[a-z]{1,9}|\\.png|-x|_7)?",
        "eyJ[a-zA-Z0-9]{2,20}\\.[a-zA-Z0-9_-]{2,20}(\\.[a-z]{2,9})?(:verb|\\.json)?",
        "[a-z.]{1,9}(@|%40)[a-z]{1,9}\\.com(:verb|\\.png)?",
        "v[0-9]{1,4}(\\.[0-9]{1,4}){0,3}(alpha|beta|rc)?[0-9]{0,5}",
        "[A-Za-z_]{1,9}\\([^/]{0,12}\\)",
        "(\\{(id|uuid|hash|date|name|token|slug)\\}|[a-z0-9]{1,3}|[-_.:]){1,6}(\\.js)?",
        "([a-z][0-9]{1,2}[-._]){1,30}(js|x)?",
        "[^/]{0,12}",
        "[A-Za-z]{18,70}",
    ];
    proptest::collection::vec(segment, 0..8).prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_template_is_its_own_template_and_leaks_nothing(path in path()) {
        let once = template(&canonical::path(&path));
        prop_assert_eq!(&template(&canonical::path(&once)), &once);
        prop_assert_eq!(once.split('/').count(), canonical::path(&path).split('/').count());
        for (position, segment) in once.split('/').skip(1).enumerate() {
            prop_assert!(!leaks(segment), "{} in {}", segment, once);
            prop_assert!(segment.len() <= LITERAL_BYTES, "{}", segment);
            let digits = segment.bytes().filter(u8::is_ascii_digit).count();
            prop_assert!(digits <= LITERAL_DIGITS || (position == 0 && is_date(segment)), "{}", segment);
        }
    }

    #[test]
    fn never_panics(text in ".{0,300}") {
        let once = template(&text);
        prop_assert!(once.len() <= 16 * text.len() + 16);
    }
}
