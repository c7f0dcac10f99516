import TestSupport
import Testing
import Verification

/// Files of prompts.
@Suite struct DataTests {
  private func data(_ text: String) throws(VerificationError) -> VerificationData {
    try VerificationData(prompts: Array(text.utf8), path: "q.jsonl")
  }

  @Test func everyLineIsAPrompt() throws {
    let data = try data(
      "{\"prompt\": \"a\", \"answer\": \"b\", \"task\": \"t\", \"note\": 1}\n\n \r\n"
        + "{\"prompt\": \"c\", \"answer\": null, \"chosen\": \"d\", \"rejected\": \"e\"}")
    #expect(data.prompts.map(\.prompt) == ["a", "c"] && data.prompts.map(\.line) == [1, 4])
    #expect(data.prompts[0].answer == "b" && data.prompts[0].task == "t" && data.prompts[1].answer == nil)
    #expect(data.prompts[1].chosen == "d" && data.prompts[1].rejected == "e")
    #expect(data.unusedKeys == ["note"] && data.source == "q.jsonl")
    #expect(VerificationData().prompts.count == 12 && VerificationData().source == "built-in")
  }

  @Test(
    "what is no prompt is refused by its line",
    arguments: [
      ("{\"prompt\": \"a\"}\n[]", "is an array, not an object", 2),
      ("\n{\"prompt\": 3}", "`prompt` is a number, not a string", 2),
      ("{\"answer\": \"a\"}", "has no `prompt`", 1), ("{\"prompt\": \"\"}", "has no `prompt`", 1),
      ("{\"prompt\": \"a\", \"chosen\": \"b\"}", "has one of `chosen` and `rejected`; a pair needs both", 1),
      ("\n \n", "holds no prompts", nil),
    ] as [(String, String, Int?)])
  func refusals(text: String, detail: String, line: Int?) {
    do throws(VerificationError) {
      _ = try data(text)
      Issue.record("it was read")
    } catch {
      guard case .prompts(let found, path: "q.jsonl", let place) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(found == detail && place == line)
    }
  }
}
