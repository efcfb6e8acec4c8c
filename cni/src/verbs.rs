//! The verbs: ADD, DEL, CHECK, STATUS, GC, VERSION.

use pleopod_api::agent::{
    Attachment, CniAddRequest, CniCheckRequest, CniDelRequest, CniGcRequest, CniStatusRequest,
};

use crate::error::{Code, Error};
use crate::input::{Env, NetConf, version_of};
use crate::{agent, output};

#[cfg(test)]
mod tests;

/// Runs one verb. `Ok(None)` is success with nothing to print.
pub fn run(env: &Env, stdin: &[u8]) -> Result<Option<String>, Error> {
    match env.command.as_str() {
        "VERSION" => Ok(Some(output::versions(&version_of(stdin)))),
        "ADD" => add(env, &NetConf::parse(stdin)?),
        "DEL" => del(env, &NetConf::parse(stdin)?),
        "CHECK" => check(env, &NetConf::parse(stdin)?),
        "STATUS" => status(&NetConf::parse(stdin)?),
        "GC" => gc(&NetConf::parse(stdin)?),
        "" => Err(Error::new(
            Code::InvalidEnvironment,
            "CNI_COMMAND is not set: this is a CNI plugin, run by a container runtime (see `pleopod lab` to try it)",
        )),
        other => Err(Error::new(
            Code::InvalidEnvironment,
            format!("CNI_COMMAND={other:?} is not one of ADD, DEL, CHECK, STATUS, GC, VERSION"),
        )),
    }
}

fn add(env: &Env, conf: &NetConf) -> Result<Option<String>, Error> {
    if conf.prev_result.is_some() {
        return Err(Error::new(
            Code::InvalidConfig,
            "`prevResult` is set: pleopod-cni makes the pod's interface and must be the first plugin of the conflist",
        ));
    }
    let (container_id, ifname, netns) = (env.container_id()?, env.ifname()?, env.netns()?);
    let pod = env.pod()?;
    let request = CniAddRequest {
        container_id: container_id.to_owned(),
        ifname: ifname.to_owned(),
        netns: netns.to_owned(),
        pod_namespace: pod.namespace.clone(),
        pod_name: pod.name.clone(),
        pod_uid: pod.uid,
        network: conf.name.clone(),
    };
    let what = format!("ADD of pod {}/{}", pod.namespace, pod.name);
    let reply = agent::call(&conf.socket, &what, |mut c| async move { c.add(request).await })?;
    Ok(Some(output::add_result(conf, &reply, ifname, netns)))
}

fn del(env: &Env, conf: &NetConf) -> Result<Option<String>, Error> {
    let request = CniDelRequest {
        container_id: env.container_id()?.to_owned(),
        ifname: env.ifname()?.to_owned(),
        netns: env.netns.clone(),
    };
    let what = format!("DEL of container {}", request.container_id);
    agent::call(&conf.socket, &what, |mut c| async move { c.del(request).await })?;
    Ok(None)
}

fn check(env: &Env, conf: &NetConf) -> Result<Option<String>, Error> {
    if !conf.at_least("0.4.0") {
        return Err(needs("CHECK", "0.4.0", conf));
    }
    let Some(prev) = &conf.prev_result else {
        let msg = "CHECK needs `prevResult`, the result of the ADD; the runtime must pass it";
        return Err(Error::new(Code::InvalidConfig, msg));
    };
    let request = CniCheckRequest {
        container_id: env.container_id()?.to_owned(),
        ifname: env.ifname()?.to_owned(),
        netns: env.netns()?.to_owned(),
        addresses: prev.ips.iter().map(|ip| ip.address.clone()).collect(),
    };
    let what = format!("CHECK of container {}", request.container_id);
    agent::call(&conf.socket, &what, |mut c| async move { c.check(request).await })?;
    Ok(None)
}

fn status(conf: &NetConf) -> Result<Option<String>, Error> {
    if !conf.at_least("1.1.0") {
        return Err(needs("STATUS", "1.1.0", conf));
    }
    let called =
        agent::call(&conf.socket, "STATUS", |mut c| async move { c.status(CniStatusRequest {}).await });
    // Whatever is wrong, STATUS has one code for it.
    called.map(|_| None).map_err(|e| e.numbered(Code::NotAvailable))
}

fn gc(conf: &NetConf) -> Result<Option<String>, Error> {
    if !conf.at_least("1.1.0") {
        return Err(needs("GC", "1.1.0", conf));
    }
    let Some(valid) = &conf.valid_attachments else {
        // Without the list every attachment would look stale.
        let msg = "GC needs `cni.dev/valid-attachments`; the runtime must pass it, nothing was removed";
        return Err(Error::new(Code::InvalidConfig, msg));
    };
    let attachment = |a: &crate::input::ValidAttachment| Attachment {
        container_id: a.container_id.clone(),
        ifname: a.ifname.clone(),
    };
    let request = CniGcRequest { network: conf.name.clone(), valid: valid.iter().map(attachment).collect() };
    agent::call(&conf.socket, "GC", |mut c| async move { c.gc(request).await })?;
    Ok(None)
}

fn needs(verb: &str, version: &str, conf: &NetConf) -> Error {
    let msg =
        format!("{verb} came with CNI {version}; this configuration says cniVersion {:?}", conf.cni_version);
    Error::new(Code::IncompatibleVersion, msg)
}
