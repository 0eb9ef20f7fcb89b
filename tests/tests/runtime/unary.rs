//! Exchanges in two unary calls, as clients without streams make them.

use crate::world::{World, plugin};
use rockstar_proto::{
    app::{AppFrame, Enter, HostFrame, Want, app_frame, host_frame, pipeline_client::PipelineClient},
    types::{Request, Response},
};
use serde_json::json;
use tonic::{Code, transport::Channel};

fn enter(path: &str) -> AppFrame {
    let request = Request { method: "GET".into(), path: path.into(), ..Request::default() };
    let enter = Enter { request: Some(request), ..Enter::default() };
    AppFrame { id: 7, exchange: String::new(), frame: Some(app_frame::Frame::Enter(enter)) }
}

async fn client(world: &World) -> PipelineClient<Channel> {
    PipelineClient::new(world.channel().await.unwrap())
}

fn handled(begun: &HostFrame) -> AppFrame {
    let response = Response { status: 200, ..Response::default() };
    AppFrame { id: 8, exchange: begun.exchange.clone(), frame: Some(app_frame::Frame::Handled(response)) }
}

#[tokio::test]
async fn begin_and_finish_make_one_exchange() {
    let hooks = json!([{"type": "pre_request", "do": "set user ann"}, {"type": "pre_response", "do": "header x-p 1"}]);
    let world = World::started(&[plugin("p", hooks)]).await;
    let mut client = client(&world).await;
    let begun = client.begin(enter("//x/../a%62")).await.unwrap().into_inner();
    let Some(host_frame::Frame::Proceed(proceed)) = &begun.frame else { panic!("{begun:?}") };
    assert_eq!((begun.id, proceed.want), (7, Want::ResponseHead as u32));
    assert_eq!(proceed.change.as_ref().unwrap().values[0].set_by, "p");
    let finished = client.finish(handled(&begun)).await.unwrap().into_inner();
    let Some(host_frame::Frame::Finish(change)) = &finished.frame else { panic!("{finished:?}") };
    assert_eq!(change.set[0].name, "x-p");
    world
        .until("the exchange to be forgotten", || async {
            client.clone().finish(handled(&begun)).await.is_err_and(|e| e.code() == Code::NotFound)
        })
        .await;
}

#[tokio::test]
async fn an_answer_ends_the_exchange() {
    let world = World::started(&[plugin("p", json!([{"type": "pre_request", "do": "answer 401 no"}]))]).await;
    let begun = client(&world).await.begin(enter("/")).await.unwrap().into_inner();
    assert!(matches!(&begun.frame, Some(host_frame::Frame::Answer(answer)) if answer.status == 401), "{begun:?}");
}

#[tokio::test]
async fn what_nobody_finishes_ends_at_its_time() {
    let world = World::started(&[plugin("p", json!([{"type": "post_request"}, {"type": "error"}]))]).await;
    let mut frame = enter("/");
    if let Some(app_frame::Frame::Enter(enter)) = &mut frame.frame {
        enter.timeout_ms = 100;
    }
    let mut client = client(&world).await;
    let begun = client.begin(frame).await.unwrap().into_inner();
    world
        .until("the exchange to end", || async {
            client.clone().finish(handled(&begun)).await.is_err_and(|e| e.code() == Code::NotFound)
        })
        .await;
}
