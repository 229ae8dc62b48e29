//! Given: documents and tables. Gives: whether what they say is found under the labels of calls. Refuses to know: how.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn document() -> Document {
    let page = json!([{"name": "limit", "in": "query", "schema": {"type": "integer", "enum": [10, 100], "default": 10}}]);
    let limits = json!({"perApiKeyOwner": {"period": "MINUTE", "maxInPeriod": 100}});
    let document = json!({"openapi": "3.0.4", "servers": [{"url": "https://users.x"}], "paths": {
        "/v1/users/{userId}": {"get": {"deprecated": true, "x-roblox-rate-limits": limits}, "delete": {}},
        "/v1/users/search": {"get": {"parameters": page}},
        "/v1/any": {"get": {"deprecated": true, "servers": [{"url": "/"}]}}}});
    Document::parse(document.to_string().as_bytes()).unwrap()
}

fn catalogue(tables: &[&str]) -> Catalogue {
    let tables = tables.iter().map(|text| Table::parse(text).unwrap_or_else(|why| panic!("{text}\n{why}")));
    Catalogue::new(&[document()], tables.collect())
}

#[test]
fn operations_are_found_by_label_whatever_parameters_are_called() {
    let catalogue = catalogue(&[]);
    let check = |endpoint: &str, method: &str, expect: Option<&str>| {
        let found = catalogue.find(endpoint, method).map(|api| api.operation.to_string());
        assert_eq!(found.as_deref(), expect, "{method} {endpoint}");
    };
    check("users.x/v1/users/{userId}", "GET", Some("GET users.x/v1/users/{userId}"));
    check("users.x/v1/users/{id}", "GET", Some("GET users.x/v1/users/{userId}"));
    check("users.x/v1/users/{id}", "DELETE", Some("DELETE users.x/v1/users/{userId}"));
    check("users.x/v1/users/search", "GET", Some("GET users.x/v1/users/search"));
    // Another operation, of which nothing is known: a value that looks like a word is no parameter.
    check("users.x/v1/users/recent", "GET", None);
    check("users.x/v1/users/{id}", "POST", None);
    check("users.y/v1/users/{id}", "GET", None);
    check("users.y/v1/any", "GET", Some("GET /v1/any"));
    for endpoint in ["unknown", "other", "users.x/**other**", "", "/", "users.x/{", "users.x/}{"] {
        check(endpoint, "GET", None);
    }
    assert_eq!(catalogue.apis().count(), 4);
}

#[test]
fn operations_that_differ_in_names_of_parameters_are_both_known() {
    let document = json!({"openapi": "3.0.4", "servers": [{"url": "https://a.x"}], "paths": {
        "/v1/{id}": {"get": {"deprecated": true}}, "/v1/{key}": {"get": {}}}});
    let document = Document::parse(document.to_string().as_bytes()).unwrap();
    let row = "[[api]]\nauthority = \"a.x\"\nendpoint = \"/v1/{any}\"\nmethod = \"GET\"\nclass = \"c\"";
    let catalogue = Catalogue::new(&[document], vec![Table::parse(row).unwrap()]);
    let found = |name: &str| catalogue.find(&format!("a.x/v1/{{{name}}}"), "GET").unwrap();
    assert!(found("id").deprecated && !found("key").deprecated && found("other").deprecated);
    assert!(catalogue.apis().all(|api| api.class.as_deref() == Some("c")) && catalogue.apis().count() == 2);
}

#[test]
fn a_table_goes_before_a_document_key_by_key_and_a_later_one_before_an_earlier() {
    let catalogue = catalogue(&[
        r#"
        [[api]]
        authority = "users.x"
        endpoint = "/v1/users/{user}"
        method = "GET"
        batch = "POST users.x/v1/users"
        batch_max = 200
        conditional = false
        tags = ["heartbeat", "asset"]
        class = "profile"
        "#,
        r#"
        [[api]]
        authority = "Users.x:443"
        endpoint = "/v1/users/{u}"
        method = "GET"
        deprecated = false
        alternatives = ["GET users.x/v2/users/{user}"]
        page = { parameter = "count", default = 1, max = 200 }
        tags = ["longpoll"]
        push = "subscribe to the topic"
        [[api]]
        endpoint = "/v1/events"
        method = "POST"
        batch = "none"
        limits = [{ calls = 30, window_seconds = 60, scope = "server", calls_per_player = 5 }]
        "#,
    ]);
    let operation = |text| Operation::parse(text).unwrap();
    let users = catalogue.find("users.x/v1/users/{id}", "GET").unwrap();
    let limit = Limit { calls: 100, calls_per_player: 0, window_seconds: 60, scope: Scope::ApiKeyOwner };
    let page_size = PageSize { parameter: "count".into(), default: Some(1), maximum: Some(200) };
    let expect = Api {
        operation: operation("GET users.x/v1/users/{userId}"),
        limits: vec![limit],
        deprecated: false,
        alternatives: vec![operation("GET users.x/v2/users/{user}")],
        batch: Some(Batch::By { operation: operation("POST users.x/v1/users"), items_max: Some(200) }),
        page_size: Some(page_size),
        conditional: Some(false),
        tags: [Tag::LongPoll].into(),
        push: Some("subscribe to the topic".into()),
        class: Some("profile".into()),
    };
    assert_eq!(*users, expect);
    let events = catalogue.find("anything.x/v1/events", "POST").unwrap();
    assert_eq!(events.batch, Some(Batch::None));
    let limit = Limit { calls: 30, calls_per_player: 5, window_seconds: 60, scope: Scope::Server };
    assert_eq!(events.limits, [limit]);
    assert_eq!(catalogue.find("users.x/v1/users/{id}", "DELETE").unwrap().batch, None);
}

#[test]
fn limits_are_shared_by_what_their_pattern_fits() {
    let row = |name: &str, rest: &str| {
        format!(
            "[[limit]]\nname = \"{name}\"\ncalls = 500\nwindow_seconds = 60\nscope = \"server\"\n{rest}\n"
        )
    };
    let first =
        row("all", "pattern = '/**'") + &row("reads", "pattern = '/v1/**'\nmethod = 'GET'\nhost = '*.x'");
    let catalogue = catalogue(&[&first, &row("all", "pattern = '/v2/**'\nexcept_host = 'b.*'")]);
    let check = |endpoint: &str, method: &str, expect: &[&str]| {
        let found: Vec<&str> =
            catalogue.shared_limits(endpoint, method).map(|shared| &*shared.name).collect();
        assert_eq!(found, expect, "{method} {endpoint}");
    };
    check("a.x/v1/users/{id}", "GET", &["reads"]);
    check("a.x/v1", "GET", &["reads"]);
    check("a.y/v1/users/{id}", "GET", &[]);
    check("a.x/v1/users/{id}", "POST", &[]);
    check("a.x/v2", "POST", &["all"]);
    check("b.x/v2", "POST", &[]);
    check("unknown", "GET", &[]);
}

#[test]
fn faults_name_the_place() {
    let check = |text: &str, expect: &str| {
        let fault = Table::parse(text).unwrap_err().to_string();
        assert!(fault.starts_with(expect), "{fault}");
    };
    let row = |rest: &str| format!("\n[[api]]\nendpoint = \"/a\"\nmethod = \"GET\"\n{rest}");
    check("x = 1", "line 1, column 1: unknown field `x`, expected `api` or `limit`");
    check("[[api]]\nendpoint = \"/a\"", "line 1, column 1: missing field `method`");
    check(
        "[[api]]\nendpoint = \"a\"\nmethod = \"GET\"",
        "line 1, column 1: api: endpoint `a`: a path template",
    );
    check("[[api]]\nendpoint = \"/a\"\nmethod = \"G T\"", "line 1, column 1: api: `G T` is not a method");
    check(&row("tag = []"), "line 5, column 1: unknown field `tag`, expected one of");
    check(
        &row("tags = [\"heart\"]"),
        "line 2, column 1: api: tag `heart`: known are heartbeat, transactional",
    );
    check(&row("batch = \"/v1/users\""), "line 2, column 1: api: `/v1/users`: expected an operation");
    check(&row("batch_max = 3"), "line 2, column 1: api: batch_max goes with");
    check(&row("batch = \"none\"\nbatch_max = 3"), "line 2, column 1: api: batch_max: there is no batch");
    check(&row("batch = \"GET a.x/\"\nbatch_max = 0"), "line 2, column 1: api: batch_max: a batch of none");
    check(
        &row("limits = [{ calls = 1, window_seconds = 1, scope = \"moon\" }]"),
        "line 2, column 1: api: scope `moon`: known are api_key_owner, oauth_authorization, server, game",
    );
    check(
        &row("limits = [{ calls = 1, window_seconds = 0, scope = \"game\" }]"),
        "line 2, column 1: api: window",
    );
    let limit = "[[limit]]\nname = \"a\"\ncalls = 1\nwindow_seconds = 1\nscope = \"game\"\npattern = \"a\"";
    check(limit, "line 1, column 1: limit: pattern `a`: it does not begin with `/`");
    check("[[api]\n", "line 1, column 7: unclosed array table");
}

#[test]
fn the_shipped_table_works() {
    let table = Table::parse(include_str!("../../../docs/catalogue-roblox.toml")).unwrap();
    let catalogue = Catalogue::new(&[], vec![table]);
    let users = catalogue.find("users.roblox.com/v1/users/{id}", "GET").unwrap();
    let operation = Operation::parse("POST users.roblox.com/v1/users").unwrap();
    assert_eq!(users.batch, Some(Batch::By { operation, items_max: Some(200) }));
    let read = catalogue.find("users.roblox.com/v1/users", "POST").unwrap();
    assert!(read.tags.contains(&Tag::SafePost));
    let names =
        |endpoint| catalogue.shared_limits(endpoint, "GET").map(|limit| &*limit.name).collect::<Vec<_>>();
    assert_eq!(names("apis.roblox.com/cloud/v2/users/{id}"), ["open_cloud_per_server"]);
    // No batch that is named is named in vain.
    for api in catalogue.apis() {
        if let Some(Batch::By { operation, .. }) = &api.batch {
            let batch = catalogue.find(&operation.endpoint(), &operation.method);
            assert!(batch.is_some(), "{operation} of {} has no row of its own", api.operation);
        }
    }
}

proptest! {
    #[test]
    fn any_row_is_read_or_refused(
        key in "authority|endpoint|method|batch|batch_max|page|limits|tags|alternatives|push|class|deprecated|x",
        value in "\"[A-Za-z /.{}:*]{0,16}\"|[0-9]{1,20}|\\[\\]|\\[\"[a-zA-Z /.]{0,12}\"\\]|true|\\{\\}|\\[\\{\\}\\]|1.5",
        endpoint in "[a-z.]{0,6}(/[a-z{}:]{0,6}){0,4}",
    ) {
        let row = format!("[[api]]\nendpoint = \"{endpoint}\"\nmethod = \"GET\"\n{key} = {value}\n");
        if let Ok(table) = Table::parse(&row) {
            let catalogue = Catalogue::new(&[], vec![table]);
            // What is known is found by its own label.
            for api in catalogue.apis() {
                let label = api.operation.endpoint();
                let found = catalogue.find(&label, &api.operation.method);
                prop_assert_eq!(found.map(|found| &found.operation), Some(&api.operation), "{}", label);
            }
        }
    }
}
