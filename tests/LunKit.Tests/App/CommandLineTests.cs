using System.CommandLine;
using LunKit.App.CommandLine;
using LunKit.App.Serve;

namespace LunKit.Tests.App;

/// <summary>Wrong words are answered in one line, with status 2 and what they should be; the help is complete.</summary>
public class CommandLineTests
{
    [Theory]
    [InlineData("srve", "no command 'srve'; did you mean 'serve'?")]
    [InlineData("frobnicate", "no command 'frobnicate' (lunkit --help")]
    [InlineData("--frobnicate", "no option '--frobnicate'")]
    [InlineData("serve d.img --readonly", "no option '--readonly'; did you mean '--read-only'?")]
    [InlineData("serve --write-cache maybe", "--write-cache 'maybe' is not on or off")]
    [InlineData("serve --log-level loud", "--log-level 'loud' is not Trace,")]
    [InlineData("serve --log-level 3", "--log-level '3' is not Trace,")]
    [InlineData("serve --portal", "--portal needs HOST:PORT")]
    [InlineData("check", "lunkit check needs a BACKSTORE")]
    [InlineData("check a b", "'b' is an argument too many: lunkit check takes BACKSTORE once (lunkit check --help")]
    [InlineData("check a --steps many", "--steps 'many' is not a whole number of 1 or more")]
    [InlineData("check a --failure-limit 5000", "--failure-limit '5000' is not a whole number from 1 to 3600")]
    [InlineData("doctor now", "'now' is an argument too many: lunkit doctor takes none")]
    [InlineData("attach a --data-area 0", "--data-area '0' is not a whole number from 1 to 2048")]
    [InlineData("handle --target-user me", "--target-user 'me'")]
    public void WrongWordsSayWhatIsRight(string line, string message)
    {
        var error = Assert.Throws<UserException>(() => AppParser.Parse(AppCommands.Create(), line.Split(' ')));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
        Assert.DoesNotContain("System.", error.Message, StringComparison.Ordinal);
        Assert.Equal(2, error.ExitCode);
    }

    [Theory]
    [InlineData("serve -- -odd-name.img")]
    [InlineData("serve @abstract")]
    [InlineData("serve --log-level info")]
    [InlineData("serve --log-level ERROR --write-cache OFF")]
    [InlineData("serve --nonsense --help")]
    [InlineData("help serve")]
    public void RightWordsAreTaken(string line) => Assert.NotNull(AppParser.Parse(AppCommands.Create(), line.Split(' ')).Action);

    [Fact]
    public void EveryCommandHasHelpThatFitsTheTerminal()
    {
        var root = AppCommands.Create();
        foreach (var command in root.Subcommands.Append<Command>(root))
        {
            var text = new StringWriter();
            Help.Write(text, command, 120);
            string help = text.ToString();
            Assert.Contains("Usage: lunkit", help, StringComparison.Ordinal);
            if (command != root) Assert.Contains("Examples:", help, StringComparison.Ordinal);
            foreach (var option in command.Options) Assert.Contains(option.Name, help, StringComparison.Ordinal);
            // A command line that is longer than a line stays one, to be copied.
            Assert.All(help.Split('\n').Where(l => !l.StartsWith("  lunkit ", StringComparison.Ordinal)), line => Assert.InRange(line.Length, 0, 160));
        }
    }

    [Fact]
    public void ExamplesAreCommandLines()
    {
        foreach (var command in AppCommands.Create().Subcommands.SelectMany(c => c.Subcommands.Prepend(c)).OfType<AppCommand>())
        {
            foreach (var (line, _) in command.Examples)
            {
                string[] words = line.Replace("sudo ", "", StringComparison.Ordinal).Split('\'').SelectMany((part, i) => i % 2 == 1 ? [part] : part.Split(' ', StringSplitOptions.RemoveEmptyEntries)).ToArray();
                Assert.Equal("lunkit", words[0]);
                var named = AppParser.Parse(AppCommands.Create(), words[1..]).CommandResult.Command;
                Assert.Contains(words.Length > 1 ? words[1] : "", (string[])[named.Name, .. named.Parents.Select(p => p.Name)]);
            }
        }
    }
}
