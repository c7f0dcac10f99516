/// A drawing with a number, a caption and the same numbers as a table.
struct Figure {
  /// The `id` in the page, e.g. `kl-by-mask-ratio`.
  let id: String
  let title: String
  /// What is to be seen, for who cannot see it.
  let description: String
  /// Under the drawing.
  let caption: String
  let drawing: Markup
  var table: PageTable
  var size = (width: Plot.width, height: Plot.height)

  var html: Markup {
    """
    <figure id="\(id)" class="chart">
    <h3>\(title)</h3>
    <svg viewBox="0 0 \(Int(size.width)) \(Int(size.height))" role="img" aria-labelledby="\(id)-title \(id)-desc">
    <title id="\(id)-title">\(title)</title><desc id="\(id)-desc">\(description)</desc>
    \(drawing)</svg>
    <figcaption>\(caption)</figcaption>
    <details><summary>The numbers</summary>
    \(table.html)</details>
    </figure>

    """
  }
}
