//! What the guide says is so: its commands run as printed and say what it shows, its tables have every key and every
//! metric.

mod docs {
    pub mod console;
    pub mod tables;
}
