//! This system's own certificate: shown, and renewed by page and REST.

use serde_json::{Value, json};

use super::*;

const PAGE: &str = "/system/certificates";

#[tokio::test]
async fn a_renewal_is_begun_on_the_page_once_and_the_next_certificate_is_told_to_ike() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let page = site.get(PAGE, &cookie).await.2;
    let renew = format!("csrf={}", csrf(&page));
    assert!(page.contains(">Renew</button>"));
    let before = site.node.identities.borrow().presented();
    let (status, head, _) = site
        .post("/system/certificates/renew", &cookie, &renew)
        .await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(head.headers()[header::LOCATION], PAGE);
    let now = site.node.identities.borrow().presented();
    assert_eq!(now.now, before.now, "nobody took the next one yet");
    let next = crate::node::serve::node::hex(&now.also.unwrap());
    let page = site.get(PAGE, &cookie).await.2;
    assert!(page.contains(&next) && !page.contains(">Renew</button>"));
    let again = site
        .post("/system/certificates/renew", &cookie, &renew)
        .await;
    assert_eq!(again.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(again.2.contains("under way"));
    let (_, _, shown) = site.get("/api/v1/certificate", &cookie).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["next"], json!(next));
    assert_eq!(shown["former"], Value::Null);
    assert_eq!(shown["peers"], json!([]));
}

#[tokio::test]
async fn who_may_only_read_renews_nothing() {
    let site = site("read-only", false);
    let cookie = site.login().await;
    let page = site.get(PAGE, &cookie).await.2;
    assert!(page.contains("SHA-256 fingerprint") && !page.contains(">Renew</button>"));
    let (_, _, session) = site.get("/account/password", &cookie).await;
    let form = format!("csrf={}", csrf(&session));
    let refused = site
        .post("/system/certificates/renew", &cookie, &form)
        .await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    assert_eq!(site.node.identities.borrow().next(), None);
}

#[tokio::test]
async fn the_page_says_the_level_at_which_this_system_was_started() {
    let site = site("read-only", false);
    let cookie = site.login().await;
    let page = site.get(PAGE, &cookie).await.2;
    let words = crate::sys::efi::start().unwrap().words();
    let (level, _) = words.split_once(':').unwrap();
    assert!(["Integrity only", "Level 1", "Level 2"].contains(&level));
    let section = page.split_once("<h2>Secure Boot</h2>").unwrap().1;
    assert!(
        section.trim_start().starts_with(&format!("<p>{level}: ")),
        "{page}"
    );
}
