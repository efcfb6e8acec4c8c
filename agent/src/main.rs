mod config; fn main() {}
