import JSON
import Templates

/// A template ends with text whose marks are in order, or with an error that has a line; the first line of the input, if it is JSON,
/// are its variables.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
  let parts = input.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
  let variables = (try? JSONParser.parse(parts[0]))?.object
  var limits = TemplateLimits()
  (limits.steps, limits.bytes) = (100_000, 1 << 22)
  do throws(TemplateError) {
    let values = (variables?.members ?? []).map {
      (name: $0.key, value: TemplateValue($0.value, isContent: true) ?? .none)
    }
    let source = variables == nil ? input : parts.count > 1 ? parts[1] : ""
    let text = try Template(source).render(values, limits: limits, time: { $0 })
    var end = 0
    for range in text.contents {
      guard range.lowerBound >= end, range.upperBound <= text.bytes.count else { fatalError("marks \(text.contents)") }
      end = range.upperBound
    }
    guard String(validating: text.bytes, as: UTF8.self) != nil else { fatalError("text that is no UTF-8") }
  } catch {
    guard error.line >= 1, !error.reason.isEmpty else { fatalError("an error without a place: \(error)") }
  }
  return 0
}
