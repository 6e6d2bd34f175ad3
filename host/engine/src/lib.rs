//! To be written.

#[allow(dead_code, unused_imports)]
mod clock;
#[allow(dead_code, unused_imports)]
mod privileges;
#[allow(dead_code, unused_imports)]
mod route;
#[allow(dead_code, unused_imports)]
mod sys;
