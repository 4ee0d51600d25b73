using System.Text;

namespace Ioasis.Lab.Qemu;

/// <summary>Trace events in a log of QEMU's, which it flushes with each line.</summary>
internal sealed class QemuEvents(string path, IReadOnlyList<string> names) : IDisposable
{
    private readonly FileStream _log = new(path, FileMode.OpenOrCreate, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
    private readonly byte[] _buffer = new byte[64 * 1024];
    private readonly StringBuilder _rest = new();

    /// <summary>Lines of the events that came since the last call.</summary>
    public List<string> Take()
    {
        int read;
        while ((read = _log.Read(_buffer)) > 0)
        {
            _rest.Append(Encoding.ASCII.GetString(_buffer, 0, read));
        }

        string text = _rest.ToString();
        int end = text.LastIndexOf('\n') + 1;
        _rest.Clear().Append(text, end, text.Length - end);
        return [.. text[..end].Split('\n').Select(EventIn).OfType<string>()];
    }

    /// <inheritdoc/>
    public void Dispose() => _log.Dispose();

    // Before the name of an event stands the time, which ends with a space or, in other builds of QEMU, with a colon.
    private string? EventIn(string line)
    {
        foreach (string name in names)
        {
            int start = line.IndexOf(name + " ", StringComparison.Ordinal);
            if (start == 0 || (start > 0 && line[start - 1] is ' ' or ':'))
            {
                return line[start..];
            }
        }

        return null;
    }
}
