//! The frame of every page, and the files that all pages share.

use maud::{DOCTYPE, Markup, html};

use conform::report::html::visible;

/// The script of tables that can be sorted.
pub(super) const TABLE_SCRIPT: &str = "table.js";

/// The script of a matrix.
pub(super) const MATRIX_SCRIPT: &str = "matrix.js";

/// The style of all pages.
pub(super) const STYLE: &str = "site.css";

/// Nothing comes from elsewhere, and text of a server that got into a page as HTML could run nothing. `file:` is for a
/// site that is opened from a disk.
const POLICY: &str = "default-src 'none'; style-src 'self' file:; script-src 'self' file:; img-src 'self' file: data:";

/// A page below the same head.
pub(super) struct Page<'p> {
    /// Its address from the root of the site: `case/S1.01.html`.
    pub(super) path: &'p str,
    pub(super) title: &'p str,
    /// One sentence for search engines.
    pub(super) description: &'p str,
    pub(super) body: Markup,
    /// The scripts that it needs.
    pub(super) scripts: &'p [&'p str],
}

/// The first entries of the menu, which hundreds of pages in folders show; the others are one step away.
const DEEP_ENTRIES: usize = 4;

/// The pages that the others lead to: address and words.
pub(super) type Menu = [(String, String)];

/// The style of [`head`].
pub(super) const HEAD_STYLE: &str = include_str!("head.css");

/// The first `shown` entries of the menu, on the page of this path.
pub(super) fn head(menu: &Menu, shown: usize, path: &str, up: &str) -> Markup {
    html! {
        header { nav aria-label="Pages" { ul {
            @for (entry, words) in &menu[..shown] {
                @let here = (entry == path).then_some("page");
                li { a href={ (up) (entry) } aria-current=[here] { (words) } }
            }
        } } }
    }
}

impl Page<'_> {
    /// The way from the page to the root of the site: `../`.
    pub(super) fn up(&self) -> String {
        "../".repeat(self.path.matches('/').count())
    }

    /// The text of the file.
    pub(super) fn text(&self, menu: &Menu) -> String {
        let up = self.up();
        let shown = if up.is_empty() { menu.len() } else { menu.len().min(DEEP_ENTRIES) };
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="description" content=(self.description);
                    title { (self.title) }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href={ (up) (STYLE) };
                }
                body {
                    (head(menu, shown, self.path, &up))
                    main { (self.body) }
                    @for script in self.scripts { script src={ (up) (script) } {} }
                }
            }
        };
        visible(&page) + "\n"
    }
}
