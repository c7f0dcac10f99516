/// A frame with two axes and what is drawn in it. Its unit is a pixel of a narrow screen; a page scales it.
struct Plot {
  static let width = 420.0
  static let height = 250.0
  static let left = 50.0
  static let right = 408.0
  static let top = 24.0
  static let bottom = 208.0

  /// One series of points in order, with their intervals.
  struct Series {
    enum Role: String { case candidate = "cand", reference = "ref", floor = "floor" }
    let role: Role
    let label: String
    let points: [(x: Double, y: Double, interval: ClosedRange<Double>?)]
    var isDashed = false
  }

  let y: Scale
  private(set) var content: Markup = ""

  /// - Parameters:
  ///   - xLabel: with its unit.
  ///   - yLabel: with its unit; stands on top of the axis, where it can be read upright.
  init(y: Scale, xLabel: String, yLabel: String) {
    self.y = y
    content += "<text class=\"label\" x=\"2\" y=\"11\">\(yLabel)</text>\n"
    content += Self.text(xLabel, x: (Self.left + Self.right) / 2, y: Self.height - 6, anchor: "middle", kind: "label")
    for tick in y.ticks {
      let place = y.place(tick.value)
      content += Self.line(Self.left, place, Self.right, place, "grid")
      content += Self.text(tick.label, x: Self.left - 6, y: place + 4, anchor: "end", kind: "tick")
    }
    content += Self.line(Self.left, Self.bottom, Self.right, Self.bottom, "axis")
  }

  /// Marks under the axis; labels that would touch their neighbours are left out.
  mutating func xTicks(_ ticks: [(place: Double, label: String)]) {
    var end = -100.0
    for tick in ticks {
      content += Self.line(tick.place, Self.bottom, tick.place, Self.bottom + 4, "axis")
      let half = Double(tick.label.count) * 3.2 + 3
      guard tick.place - half > end else { continue }
      content += Self.text(tick.label, x: tick.place, y: Self.bottom + 17, anchor: "middle", kind: "tick")
      end = tick.place + half
    }
  }

  /// A line through points, a dot and a whisker at each. `x` is a place already.
  mutating func draw(_ series: Series) {
    let kind = "s-\(series.role.rawValue)\(series.isDashed ? " dashed" : "")"
    let path = series.points.map { "\(PageNumber.coordinate($0.x)),\(PageNumber.coordinate(y.place($0.y)))" }
    if series.points.count > 1 {
      content += "<polyline class=\"line \(kind)\" points=\"\(path.joined(separator: " "))\"/>\n"
    }
    for point in series.points {
      let place = y.place(point.y)
      if let interval = point.interval {
        let (low, high) = (y.place(interval.lowerBound), y.place(interval.upperBound))
        content += Self.line(point.x, low, point.x, high, "whisker \(kind)")
      }
      guard !series.isDashed else { continue }
      content += """
        <circle class="dot \(kind)" cx="\(PageNumber.coordinate(point.x))" cy="\(PageNumber.coordinate(place))" \
        r="3"><title>\(series.label): \(PageNumber.nats(point.y))</title></circle>

        """
    }
  }

  /// A level across the frame, named at its right end.
  mutating func level(_ value: Double, label: String) {
    let place = y.place(value)
    content += Self.line(Self.left, place, Self.right, place, "line s-floor dashed")
    // Above the line, unless that would leave the frame.
    content += Self.text(
      label, x: Self.right, y: place < Self.top + 12 ? place + 13 : place - 5, anchor: "end", kind: "note")
  }

  mutating func bar(from x0: Double, to x1: Double, value: Double, title: String) {
    let place = y.place(value)
    guard Self.bottom - place > 0.05 else { return }
    content += """
      <rect class="bar" x="\(PageNumber.coordinate(x0))" y="\(PageNumber.coordinate(place))" \
      width="\(PageNumber.coordinate(max(0.5, x1 - x0)))" height="\(PageNumber.coordinate(Self.bottom - place))">\
      <title>\(title)</title></rect>

      """
  }

  /// An upright line with a name at its top, `row` lines down.
  mutating func marker(x: Double, label: String, row: Int) {
    let top = Self.top + 2 + Double(row) * 13
    content += Self.line(x, top, x, Self.bottom, "marker")
    let isRight = x > Self.right - 60
    content += Self.text(label, x: isRight ? x - 4 : x + 4, y: top + 9, anchor: isRight ? "end" : "start", kind: "note")
  }

  /// Names of the series, right above the frame.
  mutating func legend(_ entries: [(role: Series.Role, label: String, isDashed: Bool)]) {
    var x = Self.right
    for entry in entries.reversed() {
      content += Self.text(entry.label, x: x, y: 11, anchor: "end", kind: "note")
      x -= Double(entry.label.count) * 6.6 + 4
      content += Self.line(x - 18, 7, x, 7, "line s-\(entry.role.rawValue)\(entry.isDashed ? " dashed" : "")")
      x -= 28
    }
  }

  // MARK: Pieces

  static func line(_ x0: Double, _ y0: Double, _ x1: Double, _ y1: Double, _ kind: String) -> Markup {
    """
    <line class="\(kind)" x1="\(PageNumber.coordinate(x0))" y1="\(PageNumber.coordinate(y0))" \
    x2="\(PageNumber.coordinate(x1))" y2="\(PageNumber.coordinate(y1))"/>

    """
  }

  static func text(_ text: String, x: Double, y: Double, anchor: String, kind: String) -> Markup {
    """
    <text class="\(kind)" x="\(PageNumber.coordinate(x))" y="\(PageNumber.coordinate(y))" \
    text-anchor="\(anchor)">\(text)</text>

    """
  }
}
