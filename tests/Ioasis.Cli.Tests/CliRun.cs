using System.Text;
using Ioasis.Cli.Commands;
using Ioasis.Linux.Discovery;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Tests;

/// <summary>One run of the program in this process.</summary>
internal sealed record CliRun(int Status, string Out, string Error)
{
    public static CliRun Of(params string[] args) => With(null, args);

    public static CliRun Showing(ReplayReport report, params string[] args) => With((_, _) => report, args);

    public static CliRun With(ReplayRunner? runner, params string[] args) => With(runner, null, args);

    public static CliRun On(Sysfs machine, params string[] args) => With(null, _ => machine, args);

    private static CliRun With(ReplayRunner? runner, Func<string, Sysfs>? openSysfs, string[] args)
    {
        using StringWriter output = new(), error = new();
        using MemoryStream bytes = new();
        int status = CommandLine.Invoke(
            args,
            new() { Out = output, Error = error, OpenOut = () => new Unclosed(bytes), ColourOut = false, ErrorIsTerminal = false },
            runner,
            openSysfs);
        return new(status, output + Encoding.UTF8.GetString(bytes.ToArray()), error.ToString());
    }

    private sealed class Unclosed(MemoryStream target) : Stream
    {
        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => target.Write(buffer, offset, count);
    }
}

/// <summary>A folder that is gone after the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("ioasis-test-");

    public string File(string name) => Path.Combine(_folder.FullName, name);

    public string Write(string name, string text)
    {
        System.IO.File.WriteAllText(File(name), text);
        return File(name);
    }

    public void Dispose() => _folder.Delete(recursive: true);
}
