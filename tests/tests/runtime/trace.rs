//! The trace of a test: what plugins and handlers note, in the order in which they do. Plugins reach it by a Unix socket.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

/// Where handlers note that they ran.
#[derive(Clone, Default)]
pub(crate) struct Tracer(Arc<Mutex<Vec<String>>>);

/// Takes notes until it is dropped.
pub(crate) struct Trace {
    tracer: Tracer,
    socket: PathBuf,
    over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Tracer {
    pub(crate) fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut line = String::new();
        stream.read_to_string(&mut line)?;
        if !line.is_empty() {
            self.note(&line);
        }
        stream.write_all(self.lines().join("\n").as_bytes())
    }
}

impl Trace {
    pub(crate) fn at(socket: &Path) -> Self {
        let (tracer, over) = (Tracer::default(), Arc::new(AtomicBool::new(false)));
        let listener = UnixListener::bind(socket).unwrap();
        let server = thread::spawn({
            let (tracer, over) = (tracer.clone(), Arc::clone(&over));
            move || {
                let streams = listener.incoming().take_while(|_| !over.load(SeqCst));
                // A plugin that dies in the middle of a note made none.
                streams.flatten().for_each(|stream| drop(tracer.serve(stream)));
            }
        });
        Self { tracer, socket: socket.to_owned(), over, server: Some(server) }
    }

    pub(crate) const fn tracer(&self) -> &Tracer {
        &self.tracer
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        UnixStream::connect(&self.socket).ok();
        self.server.take().map(JoinHandle::join);
    }
}
