//! Given: documents and paths. Gives: whether each path has the template of its document. Refuses to know: how.

use serde_json::{Value, json};

use super::*;

fn templates(document: &Value) -> Templates {
    Templates::new(&[Document::parse(document.to_string().as_bytes()).unwrap()])
}

/// Calls, each `METHOD authority path`, and their templates.
fn check(document: &Value, expect: &[(&str, Option<&str>)]) {
    let templates = templates(document);
    for (call, template) in expect {
        let [method, authority, path] = call.split(' ').collect::<Vec<_>>()[..] else { panic!("{call}") };
        assert_eq!(templates.template(authority, method, path), *template, "{call}");
    }
}

fn parameter(name: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

#[test]
fn text_goes_before_typed_before_untyped() {
    let document = json!({"openapi": "3.0.4", "servers": [{"url": "https://a.x"}], "paths": {
        "/users/search": {"get": {}},
        "/users/{name}": {"get": {}},
        "/users/{id}": {"get": {"parameters": [parameter("id", &json!({"type": "integer"}))]}},
        "/users/{key}": {"get": {"parameters": [parameter("key", &json!({"type": "string", "format": "uuid"}))]}},
        "/users/{id}:publish": {"post": {}},
        "/users/{id}:publishAll": {"post": {}},
        "/users/{name}/friends": {"get": {}},
        "/users/{id}/badges": {"parameters": [parameter("id", &json!({"type": "integer"}))], "get": {}},
    }});
    let uuid = "GET a.x /users/123e4567-e89b-12d3-a456-426614174000";
    check(
        &document,
        &[
            ("GET a.x /users/search", Some("/users/search")),
            ("GET a.x /users/7", Some("/users/{id}")),
            (uuid, Some("/users/{key}")),
            ("GET a.x /users/jane", Some("/users/{name}")),
            ("POST a.x /users/7:publish", Some("/users/{id}:publish")),
            ("POST a.x /users/7:publishAll", Some("/users/{id}:publishAll")),
            // The typed branch is tried first and given up.
            ("GET a.x /users/7/friends", Some("/users/{name}/friends")),
            ("GET a.x /users/search/friends", Some("/users/{name}/friends")),
            ("GET a.x /users/7/badges", Some("/users/{id}/badges")),
            ("GET a.x /users/jane/badges", None),
            ("GET a.x /users", None),
            ("GET a.x /", None),
            ("OPTIONS a.x *", None),
            ("GET b.x /users/7", None),
            // A template is its own.
            ("GET a.x /users/{name}", Some("/users/{name}")),
            ("GET a.x /users/{key}", Some("/users/{key}")),
            ("GET a.x /users/{id}:publish", Some("/users/{id}:publish")),
        ],
    );
}

#[test]
fn servers_of_operation_path_and_document() {
    let server = |url: &str| json!([{"url": url}]);
    let document = json!({"openapi": "3.1.0", "servers": server("https://a.x/base/"), "paths": {
        "/v1/metadata": {"get": {}},
        "/v1/metadata#b.x": {"get": {"servers": server("https://B.x:443")}},
        "/v1/metadata#c.x": {"servers": server("//c.x/c/d"), "get": {}, "post": {"servers": server("https://d.x:8443")}},
        "/v1/relative": {"get": {"servers": server("/rel")}},
        "/v1/{x}": {"servers": [{
            "url": "https://{region}.e.x/{stage}",
            "variables": {"region": {"default": "eu"}, "stage": {"default": "live"}}
        }]},
    }});
    check(
        &document,
        &[
            ("GET a.x /base/v1/metadata", Some("/base/v1/metadata")),
            ("GET a.x /v1/metadata", None),
            ("GET b.x /v1/metadata", Some("/v1/metadata")),
            ("GET c.x /c/d/v1/metadata", Some("/c/d/v1/metadata")),
            ("POST d.x:8443 /v1/metadata", Some("/v1/metadata")),
            // Where it is documented for any method, it is the path.
            ("DELETE d.x:8443 /v1/metadata", Some("/v1/metadata")),
            ("POST c.x /v1/metadata", None),
            ("GET a.x /rel/v1/relative", Some("/rel/v1/relative")),
            ("GET unheard.of /rel/v1/relative", Some("/rel/v1/relative")),
            ("GET eu.e.x /live/v1/7", Some("/live/v1/{x}")),
        ],
    );
    assert!(templates(&document).authorities().eq(["a.x", "b.x", "c.x", "d.x:8443", "eu.e.x"]));
}

#[test]
fn methods_decide_between_names() {
    let document = json!({"openapi": "3.0.0", "paths": {"/a/{x}": {"get": {}}, "/a/{y}": {"post": {}}}});
    check(
        &document,
        &[
            ("GET any /a/1", Some("/a/{x}")),
            ("POST any /a/1", Some("/a/{y}")),
            ("PUT any /a/1", Some("/a/{x}")),
            ("POST any /a/{x}", Some("/a/{x}")),
        ],
    );
}

#[test]
fn references_are_followed() {
    let document = json!({"openapi": "3.0.0",
        "components": {
            "parameters": {
                "User": parameter("id", &json!({"$ref": "#/components/schemas/Id"})),
                "Loop": {"$ref": "#/components/parameters/Loop"},
            },
            "schemas": {"Id": {"allOf": [{"$ref": "#/components/schemas/Number"}]}, "Number": {"type": "integer"}},
            "pathItems": {"Shared": {"get": {}}},
        },
        "paths": {
            "/a/{id}": {"get": {"parameters": [{"$ref": "#/components/parameters/User"}]}},
            "/b/{id}": {"get": {"parameters": [{"$ref": "#/components/parameters/Loop"}]}},
            "/c/{id}": {"get": {"parameters": [{"$ref": "other.json#/x"}]}},
            "/d": {"$ref": "#/components/pathItems/Shared"},
            "/e": {"$ref": "other.json"},
        }
    });
    check(
        &document,
        &[
            ("GET any /a/1", Some("/a/{id}")),
            ("GET any /a/me", None),
            ("GET any /b/me", Some("/b/{id}")),
            ("GET any /c/me", Some("/c/{id}")),
            ("GET any /d", Some("/d")),
            ("GET any /e", Some("/e")),
        ],
    );
}

#[test]
fn enumerations_and_patterns() {
    let path = |schema: Value| json!({"get": {"parameters": [parameter("p", &schema)]}});
    let document = json!({"openapi": "3.0.0", "paths": {
        "/enum/{p}": path(json!({"type": "string", "enum": ["a", 2]})),
        "/number/{p}": path(json!({"type": "number"})),
        "/bool/{p}": path(json!({"type": "boolean"})),
        "/date/{p}": path(json!({"type": "string", "format": "date"})),
        "/set/{p}": path(json!({"type": "string", "pattern": "^[A-Z\\d_-]{2,3}$"})),
        "/word/{p}": path(json!({"type": "string", "pattern": "^\\w+$"})),
        "/digits/{p}": path(json!({"type": "string", "pattern": "^[0-9]{3}$"})),
        "/complex/{p}": path(json!({"type": "string", "pattern": "^(a|b)+$"})),
        "/negated/{p}": path(json!({"type": "string", "pattern": "^[^a]+$"})),
        "/loose/{p}": path(json!({"type": "string", "pattern": "[a-z]+"})),
    }});
    for (path, fits) in [
        ("/enum/a", true),
        ("/enum/2", true),
        ("/enum/b", false),
        ("/number/1.5", true),
        ("/number/x", false),
        ("/bool/true", true),
        ("/bool/yes", false),
        ("/date/2026-08-22", true),
        ("/date/today", false),
        ("/set/A_", true),
        ("/set/9-Z", true),
        ("/set/A", false),
        ("/set/ABCD", false),
        ("/set/ab", false),
        ("/word/a_1", true),
        ("/word/a-1", false),
        ("/digits/123", true),
        ("/digits/1234", false),
        ("/complex/anything", true),
        ("/negated/anything", true),
        ("/loose/ANY", true),
    ] {
        assert_eq!(templates(&document).template("any", "GET", path).is_some(), fits, "{path}");
    }
}

#[test]
fn swagger_2() {
    let document = json!({"swagger": "2.0", "host": "Petstore.x", "basePath": "/v2", "paths": {
        "/pet/{id}": {"get": {"parameters": [{"name": "id", "in": "path", "type": "integer"}]}},
        "/pet/find": {"get": {}},
    }});
    check(
        &document,
        &[
            ("GET petstore.x /v2/pet/7", Some("/v2/pet/{id}")),
            ("GET petstore.x /v2/pet/find", Some("/v2/pet/find")),
            ("GET petstore.x /v2/pet/x", None),
            ("GET other.x /v2/pet/7", None),
        ],
    );
}

#[test]
fn faults_name_the_place() {
    let fault = |json: &str| Document::parse(json.as_bytes()).unwrap_err().to_string();
    let key = |key: &str| fault(&json!({"openapi": "3.0.0", "paths": {key: {}}}).to_string());
    let server = |server: Value| {
        fault(&json!({"openapi": "3.0.0", "servers": [server], "paths": {"/": {}}}).to_string())
    };
    assert!(fault("openapi: 3.0.0").starts_with("line 1, column 1: this is not JSON"));
    assert!(fault("{}").contains("neither `openapi` nor `swagger`"));
    assert!(fault("[]").contains("neither `openapi` nor `swagger`"));
    assert!(fault(r#"{"openapi": "3.1.0"}"#).contains("`paths`"));
    assert_eq!(key("users"), "path key `users`: it does not begin with `/`");
    assert_eq!(key("/users/{id"), "path key `/users/{id`: a `{` is not closed in its segment");
    assert!(key("/users/{a}{b}").contains("no text between"));
    assert!(key(&"/a".repeat(17)).contains("more than 16 segments"));
    assert!(server(json!({"url": "https://{region}.x"})).contains("server `https://{region}.x`"));
    assert!(server(json!({"url": "https:///base"})).contains("no valid host"));
    assert!(fault(r#"{"swagger": "2.0", "host": "a b", "paths": {}}"#).contains("server `a b`"));
}

#[test]
fn any_json_is_a_document_or_a_fault() {
    let parts = ["null", "7", "[]", "{}", "\"x\"", r#"{"$ref": "\#"}"#, r#"[{"$ref": 1}]"#, r#"{"get": []}"#];
    for outer in parts {
        for inner in parts {
            for field in ["paths", "servers", "components"] {
                let text = format!(
                    r#"{{"openapi": {outer}, "paths": {{"/a": {inner}, "/b": {{"get": {outer}, "parameters": {inner}}}}}, "{field}": {inner}}}"#
                );
                if let Ok(document) = Document::parse(text.as_bytes()) {
                    assert!(document.routes().count() <= 4);
                }
            }
        }
    }
}
