//! How tunnels are keyed, as pages and REST take it: choices, certificates, and their mistakes.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Value, json};

use super::*;
use crate::cluster::Standing;
use crate::ike::suite::Version;

const KEY: &str = "vary-9umbrella-Kilo42-tidal";

/// PEM of a certificate for 192.0.2.11, its key, and its issuer.
fn certificates() -> [String; 3] {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::IpAddress("192.0.2.11".parse().unwrap())];
    let certificate = params.signed_by(&own, &issuer).unwrap().pem();
    [certificate, own.serialize_pem(), authority]
}

impl Site {
    async fn put(&self, body: &Value) -> (StatusCode, Value) {
        let request =
            Request::put("/api/v1/cluster").header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let (status, _, text) = self.send(Origin::Local(0), request).await;
        (status, serde_json::from_str(&text).unwrap())
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs = fields.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{name}={}", crate::web::pages::encoded(value)))
        .collect();
    pairs.join("&")
}

/// What a start reads from what is saved.
fn restarted(site: &Site) -> Node {
    Node::new(
        site.node.store.clone(),
        site.node.local.clone(),
        Identity::make("a", &[]).unwrap(),
        "system-a".into(),
        site.node.own(),
        site.node.state.clone(),
    )
    .unwrap()
}

#[tokio::test]
async fn the_page_chooses_profile_and_key_exchange_and_the_tunnel_service_is_told() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let page = site.get("/system/clustering", &cookie).await.2;
    for words in ["IKEv2", "ISAKMP main mode", "guide era", "pre-shared key"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains("value=\"ikev2\" selected"), "{page}");
    let token = csrf(&page);
    let mut fields = vec![
        ("csrf", token.as_str()),
        ("key", KEY),
        ("peer1", "192.0.2.11"),
        ("peer2", ""),
        ("peer3", ""),
        ("profile", "main-mode"),
        ("authentication", "pre-shared-key"),
        ("additional_key_exchange", "required"),
    ];
    let send = |fields: &[(&str, &str)]| {
        let form = form(fields);
        let (site, cookie) = (&site, &cookie);
        async move { site.post("/system/clustering", cookie, &form).await.2 }
    };
    let page = send(&fields).await;
    assert!(page.contains("value=\"main-mode\" selected"), "{page}");
    let desired = site.node.desired().unwrap();
    assert_eq!(desired.profile.version, Version::V1);
    fields[5].1 = "ikev2";
    fields[7].1 = "off";
    send(&fields).await;
    let desired = site.node.desired().unwrap();
    assert_eq!(desired.profile.version, Version::V2);
    assert!(desired.profile.ike.iter().all(|s| s.additional.is_none()));
    fields[5].1 = "aggressive";
    let page = send(&fields).await;
    assert!(page.contains("must be one of: ikev2, main-mode, guide-era"));
}

#[tokio::test]
async fn certificates_are_taken_and_their_private_key_is_never_shown_again() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let token = csrf(&site.get("/system/clustering", &cookie).await.2);
    let [certificate, key, authority] = certificates();
    let secret = key.lines().nth(1).unwrap().to_owned();
    let fields = [
        ("csrf", token.as_str()),
        ("key", ""),
        ("peer1", "192.0.2.11"),
        ("peer2", ""),
        ("peer3", ""),
        ("authentication", "certificates"),
        ("certificate", certificate.as_str()),
        ("certificate_key", key.as_str()),
        ("authorities", authority.as_str()),
        ("revocation_lists", ""),
    ];
    let page = site
        .post("/system/clustering", &cookie, &form(&fields))
        .await
        .2;
    assert!(page.contains("Saved:"), "{page}");
    assert!(!page.contains(&secret), "the key is on the page");
    let desired = site.node.desired().unwrap();
    assert!(desired.key.0.is_empty() && desired.certificates.is_some());
    assert!(!format!("{desired:?}").contains(&secret));

    // A blank private key keeps the saved one; another certificate does not fit it.
    let mut again = fields;
    again[7].1 = "";
    let post = |fields: &[(&str, &str)]| {
        let form = form(fields);
        let (site, cookie) = (&site, &cookie);
        async move { site.post("/system/clustering", cookie, &form).await.2 }
    };
    assert!(post(&again).await.contains("Saved:"));
    assert_eq!(site.node.desired(), Some(desired), "nothing changed");
    let [other, ..] = certificates();
    again[6].1 = &other;
    let page = post(&again).await;
    assert!(
        page.contains("does not belong to the certificate"),
        "{page}"
    );
    // A typed key that was refused is not sent back either.
    let mut refused = fields;
    refused[8].1 = "nonsense";
    let page = post(&refused).await;
    assert!(page.contains("BEGIN CERTIFICATE"), "{page}");
    assert!(!page.contains(&secret), "the key is on the page");
    let (_, _, told) = site.get("/system/clustering", &cookie).await;
    assert!(told.contains("trust anchors: 1"), "{told}");
}

#[tokio::test]
async fn rest_takes_the_same_and_what_is_not_used_changes_nothing_for_the_tunnels() {
    let site = site("administrator", false);
    let [certificate, key, authority] = certificates();
    let (status, answer) = site
        .put(
            &json!({ "key": KEY, "peer1": "192.0.2.11", "certificate": certificate,
            "certificate_key": key, "authorities": authority }),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["authentication"], "pre-shared-key");
    assert_eq!(answer["certificate"]["authorities"], 1);
    let before = site.node.desired().unwrap();
    assert!(before.certificates.is_none(), "certificates are not used");
    let (_, answer) = site
        .put(&json!({ "peer1": "192.0.2.11", "authentication": "certificates" }))
        .await;
    assert_eq!(answer["authentication"], "certificates", "{answer}");
    let certified = site.node.desired().unwrap();
    site.put(&json!({ "peer1": "192.0.2.11", "key": format!("{KEY}-2") }))
        .await;
    assert_eq!(site.node.desired(), Some(certified), "the key is not used");
    let (status, answer) = site
        .put(&json!({ "peer1": "192.0.2.11", "profile": "guide-era" }))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["problems"][0]["field"], "authentication");
    let (status, answer) = site
        .put(&json!({ "peer1": "192.0.2.11", "certificate": "" }))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["problems"][0]["field"], "certificate");

    // All of it outlives a restart, and goes when the fields are cleared.
    let reread = restarted(&site);
    assert!(*reread.cluster.borrow() == *site.node.cluster.borrow());
    let request = Request::delete("/api/v1/cluster").body(Body::empty());
    site.send(Origin::Local(0), request.unwrap()).await;
    assert!(site.node.local.value("ike_key").unwrap().is_none());
    assert!(site.node.desired().is_none());
}

#[tokio::test]
async fn a_post_quantum_key_is_taken_kept_never_shown_and_deleted() {
    const SECRET: &str = "c3vn-3jkq-7wzd-p9fm-x2rt-8bhy-n4va-e6us-hd5c-kg7q-ty2w-am9x-zr3b";
    let site = site("administrator", false);
    let cookie = site.login().await;
    let token = csrf(&site.get("/system/clustering", &cookie).await.2);
    let send = |secret: &str, id: &str, profile: &str| {
        let form = form(&[
            ("csrf", token.as_str()),
            ("key", KEY),
            ("peer1", "192.0.2.11"),
            ("peer2", ""),
            ("peer3", ""),
            ("profile", profile),
            ("post_quantum_key", secret),
            ("post_quantum_key_id", id),
        ]);
        let (site, cookie) = (&site, &cookie);
        async move { site.post("/system/clustering", cookie, &form).await.2 }
    };
    let page = send("not long enough", "lab", "ikev2").await;
    assert!(page.contains("256 are needed"), "{page}");
    assert!(!page.contains("not long enough") && page.contains("value=\"lab\""));
    assert!(site.node.desired().is_none(), "nothing was saved");
    let page = send(SECRET, "lab", "ikev2").await;
    assert!(page.contains("Saved:") && !page.contains(SECRET), "{page}");
    let desired = site.node.desired().unwrap();
    let told = desired.ppk.as_ref().unwrap();
    assert_eq!(
        (told.id.as_str(), &told.secret.0[..]),
        ("lab", SECRET.as_bytes())
    );
    assert!(!format!("{desired:?}").contains("c3vn"));
    // What the page shows in its place keeps it; IKEv1 has none.
    let kept = "\u{2022}".repeat(8);
    send(&kept, "office", "ikev2").await;
    let ppk = site.node.desired().unwrap().ppk.unwrap();
    assert_eq!((ppk.id.as_str(), &ppk.secret), ("office", &told.secret));
    let page = send(&kept, "office", "main-mode").await;
    assert!(page.contains("does not exist in the profile ISAKMP main mode"));

    let reread = restarted(&site);
    assert!(*reread.cluster.borrow() == *site.node.cluster.borrow());
    let (_, answer) = site
        .put(&json!({ "peer1": "192.0.2.11", "post_quantum_key": "" }))
        .await;
    assert_eq!(answer["post_quantum_key_set"], false, "{answer}");
    assert!(site.node.desired().unwrap().ppk.is_none());
    assert!(site.node.local.value("cluster_ppk").unwrap().is_none());
    // The log has the identity and never the secret.
    let lines = site.get("/api/v1/events?limit=100", &cookie).await.2;
    assert!(
        lines.contains("Post-quantum key: set") && lines.contains("office"),
        "{lines}"
    );
    assert!(!lines.contains("c3vn"), "{lines}");
}

#[tokio::test]
async fn who_joins_confirms_that_its_own_tables_are_replaced() {
    let site = site("administrator", false);
    let cookie = site.login().await;
    let page = site.get("/system/clustering", &cookie).await.2;
    assert!(page.contains("name=\"join\""), "{page}");
    let token = csrf(&page);
    let fields = format!("csrf={token}&key={KEY}&peer1=192.0.2.12&peer2=192.0.2.11&peer3=");
    let page = site.post("/system/clustering", &cookie, &fields).await.2;
    assert!(page.contains("Nothing was saved") && page.contains("or leave Peers 2 and 3 blank"));
    assert_eq!(site.node.standing(), Standing::Standalone);
    let peers = ["192.0.2.12", "192.0.2.11"];
    let body =
        |join: bool| json!({ "key": KEY, "join": join, "peer1": peers[0], "peer2": peers[1] });
    let (status, answer) = site.put(&body(false)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["problems"][0]["field"], "join");
    assert_eq!(site.node.standing(), Standing::Standalone);
    assert_eq!(site.put(&body(true)).await.0, StatusCode::OK);
    assert_eq!(site.node.standing(), Standing::Waiting);
    // Once confirmed, further changes need no second word.
    let page = site.get("/system/clustering", &cookie).await.2;
    assert!(!page.contains("name=\"join\""));
    assert_eq!(site.put(&body(false)).await.0, StatusCode::OK);
}
