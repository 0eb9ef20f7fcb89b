//! What a pod becomes; `INSTA_UPDATE=always cargo test` writes the golden text anew.

use super::*;

fn settings() -> Settings {
    Settings {
        image: "registry.example/rockstar-sidecar:1".into(),
        image_pull_policy: String::new(),
        resources: serde_json::from_value(json!({"requests": {"cpu": "50m", "memory": "64Mi"}})).unwrap(),
        control_url: "https://rockstar-operator.rockstar-system.svc:9443".into(),
        insecure_registries: vec!["registry.local:5000".into()],
        log_format: "json".into(),
    }
}

fn host(spec: Value) -> PluginHost {
    let mut whole = json!({"framework": {"version": "1.5.0"}});
    whole["sidecar"] = spec;
    PluginHost::new("storefront", serde_json::from_value(whole).unwrap())
}

fn pod() -> Value {
    json!({
        "metadata": {"generateName": "storefront-", "labels": {"plugins.rockstar-framework.dev/host": "storefront"}},
        "spec": {
            "terminationGracePeriodSeconds": 20,
            "initContainers": [{"name": "migrate", "image": "shop:1"}],
            "containers": [
                {"name": "app", "image": "shop:1", "env": [{"name": "PORT", "value": "8000"}]},
                {"name": "worker", "image": "shop:1", "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]},
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    })
}

#[test]
fn a_pod_gets_its_sidecar() {
    let injected = inject(&pod(), None, &settings()).unwrap();
    insta::assert_snapshot!("pod", serde_yaml::to_string(&injected).unwrap());
}

#[test]
fn twice_is_once() {
    let host = host(json!({"image": "own:2", "resources": {"limits": {"memory": "1Gi", "cpu": 1}}}));
    for host in [None, Some(&host)] {
        let once = inject(&pod(), host, &settings()).unwrap();
        assert_eq!(inject(&once, host, &settings()).unwrap(), once);
    }
}

#[test]
fn the_disk_has_room_for_what_limits_allow() {
    let size = |limits: Value| {
        let spec = json!({"framework": {"version": "1.5.0"}, "limits": limits});
        let host = PluginHost::new("storefront", serde_json::from_value(spec).unwrap());
        let injected = inject(&pod(), Some(&host), &settings()).unwrap();
        let volumes = injected["spec"]["volumes"].as_array().unwrap().clone();
        let data = volumes.into_iter().find(|volume| volume["name"] == "rockstar-data").unwrap();
        data["emptyDir"]["sizeLimit"].as_str().unwrap().to_owned()
    };
    assert_eq!(size(json!({})), "105Gi");
    assert_eq!(size(json!({"database": "100Gi"})), "204Gi");
    assert_eq!(size(json!({"data": "1Ti", "tmp": "1Ti", "storage": "64Gi"})), "540681Gi");
}

#[test]
fn the_host_has_the_last_word_on_the_container() {
    let host = host(json!({"image": "own:2", "resources": {"limits": {"memory": "1Gi", "cpu": 1}}}));
    let injected = inject(&pod(), Some(&host), &settings()).unwrap();
    let sidecar = &injected["spec"]["initContainers"][0];
    assert_eq!(sidecar["image"], "own:2");
    assert_eq!(sidecar["resources"], json!({"limits": {"memory": "1Gi", "cpu": 1}}));
    let limit =
        json!({"name": "ROCKSTAR_MEMORY_LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}});
    assert!(sidecar["env"].as_array().unwrap().contains(&limit), "{sidecar}");
}

#[test]
fn a_container_that_only_has_the_name_is_no_sidecar() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({INJECTED: "true"});
    pod["spec"]["initContainers"] = json!([{"name": "first", "image": "a"}, {"name": CONTAINER, "image": "forged"}]);
    let injected = inject(&pod, None, &settings()).unwrap();
    let names: Vec<_> = injected["spec"]["initContainers"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, [CONTAINER, "first"]);
    assert_eq!(injected["spec"]["initContainers"][0]["image"], settings().image);
}

#[test]
fn what_is_no_pod_is_refused() {
    assert_eq!(inject(&json!([]), None, &settings()), Err(InjectError::Malformed("the object")));
    let odd = json!({"metadata": {}, "spec": {"containers": "many"}});
    assert_eq!(inject(&odd, None, &settings()), Err(InjectError::Malformed("spec.containers")));
}
