//! Writes `crds/yaml` and the chart's templates of it. `tests/yaml.rs` says whether what is checked in is current.

use rockstar_crds::yaml;
use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    write("yaml", yaml::files()?)?;
    write("../charts/rockstar/templates/crds", yaml::templates()?)
}

fn write(directory: &str, files: [(&str, String); 2]) -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    fs::create_dir_all(&directory)?;
    for (name, text) in files {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}
