using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Ioasis.Lab.Qemu;

/// <summary>
/// QEMU's qtest protocol: lines of text over a socket, each answered by one line. Commands whose answer carries nothing are
/// posted: they go out in order with the next command that has an answer, and all their answers are read then. The emulated
/// machine does nothing by itself between two commands, so a device never sees memory older than what was posted before.
/// Thread-safe.
/// </summary>
public sealed class QtestConnection : IDisposable
{
    // The answers to what was posted fit in any socket's buffer, so that QEMU never waits for us while we wait for it.
    private const int MaxOutstanding = 512;
    private const int FlushBytes = 64 * 1024;

    private readonly Socket _socket;
    private readonly Lock _lock = new();
    private readonly MemoryStream _out = new();
    private readonly byte[] _in = new byte[64 * 1024];
    private readonly StringBuilder _line = new();
    private readonly Queue<QtestInterrupt> _interrupts = new();
    private int _inStart;
    private int _inEnd;
    private int _outstanding;
    private string? _lastPosted;

    /// <summary>Takes over a connected socket.</summary>
    public QtestConnection(Socket socket)
    {
        ArgumentNullException.ThrowIfNull(socket);
        _socket = socket;
    }

    /// <summary>Commands so far.</summary>
    public long Commands { get; private set; }

    /// <summary>Times that somebody waited for an answer.</summary>
    public long RoundTrips { get; private set; }

    /// <summary>Sends a command some time before the next one that has an answer.</summary>
    public void Post(string command)
    {
        lock (_lock)
        {
            Append(command);
            _lastPosted = command;
            _outstanding++;
            if (_outstanding >= MaxOutstanding || _out.Length >= FlushBytes)
            {
                SendAndDrain();
            }
        }
    }

    /// <summary>Sends a command and returns what follows "OK" in its answer.</summary>
    /// <exception cref="QtestException">QEMU answered something else, or is gone.</exception>
    public string Ask(string command)
    {
        lock (_lock)
        {
            Append(command);
            SendAndDrain();
            RoundTrips++;
            return Answer(command);
        }
    }

    /// <summary>Sends many commands, and waits once for each few hundred of them.</summary>
    /// <returns>What follows "OK" in each answer, in order.</returns>
    public IReadOnlyList<string> AskAll(IReadOnlyList<string> commands)
    {
        ArgumentNullException.ThrowIfNull(commands);
        List<string> answers = new(commands.Count);
        lock (_lock)
        {
            SendAndDrain();
            while (answers.Count < commands.Count)
            {
                int end = answers.Count;
                while (end < commands.Count && end - answers.Count < MaxOutstanding && _out.Length < FlushBytes)
                {
                    Append(commands[end++]);
                }

                SendAndDrain();
                RoundTrips++;
                while (answers.Count < end)
                {
                    answers.Add(Answer(commands[answers.Count]));
                }
            }
        }

        return answers;
    }

    /// <summary>As <see cref="Ask"/>, for a command that gives a number.</summary>
    public ulong AskNumber(string command)
    {
        string answer = Ask(command);
        ReadOnlySpan<char> text = answer;
        return text.StartsWith("0x", StringComparison.Ordinal)
            ? ulong.Parse(text[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)
            : ulong.Parse(text, CultureInfo.InvariantCulture);
    }

    /// <summary>Waits until everything that was posted is done.</summary>
    public void Flush()
    {
        lock (_lock)
        {
            SendAndDrain();
        }
    }

    /// <summary>Runs several commands with no other of this process's between them.</summary>
    public T Atomically<T>(Func<T> body)
    {
        ArgumentNullException.ThrowIfNull(body);
        lock (_lock)
        {
            return body();
        }
    }

    /// <summary>Takes the oldest change of an intercepted interrupt line.</summary>
    public bool TryTakeInterrupt(out QtestInterrupt interrupt)
    {
        lock (_lock)
        {
            return _interrupts.TryDequeue(out interrupt);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _socket.Dispose();
        _out.Dispose();
    }

    private void Append(string command)
    {
        Commands++;
        _out.Write(Encoding.ASCII.GetBytes(command));
        _out.WriteByte((byte)'\n');
    }

    private void SendAndDrain()
    {
        ReadOnlySpan<byte> rest = _out.GetBuffer().AsSpan(0, (int)_out.Length);
        try
        {
            while (!rest.IsEmpty)
            {
                rest = rest[_socket.Send(rest)..];
            }
        }
        catch (SocketException error)
        {
            throw new QtestException($"QEMU is gone: {error.Message}", error);
        }

        _out.SetLength(0);
        while (_outstanding > 0)
        {
            _outstanding--;
            _ = Answer(_lastPosted ?? "");
        }
    }

    private string Answer(string command)
    {
        while (true)
        {
            string line = ReadLine();
            if (line.StartsWith("OK", StringComparison.Ordinal))
            {
                return line.Length > 3 ? line[3..] : "";
            }

            // "IRQ raise 3": not an answer, it may come at any time before one.
            string[] words = line.Split(' ');
            if (words is ["IRQ", var direction, var number])
            {
                _interrupts.Enqueue(new(
                    int.Parse(number, CultureInfo.InvariantCulture), string.Equals(direction, "raise", StringComparison.Ordinal)));
                continue;
            }

            throw new QtestException($"qtest answered '{line}' to '{command}' or to what was posted before");
        }
    }

    private string ReadLine()
    {
        _line.Clear();
        while (true)
        {
            ReadOnlySpan<byte> buffered = _in.AsSpan(_inStart, _inEnd - _inStart);
            int end = buffered.IndexOf((byte)'\n');
            if (end >= 0)
            {
                _line.Append(Encoding.ASCII.GetString(buffered[..end]));
                _inStart += end + 1;
                return _line.ToString();
            }

            _line.Append(Encoding.ASCII.GetString(buffered));
            _inStart = 0;
            try
            {
                _inEnd = _socket.Receive(_in);
            }
            catch (SocketException error)
            {
                _inEnd = 0;
                throw new QtestException($"QEMU is gone: {error.Message}", error);
            }

            if (_inEnd == 0)
            {
                throw new QtestException("QEMU closed the qtest socket");
            }
        }
    }
}

/// <summary>A change of an intercepted interrupt line.</summary>
/// <param name="Line">Its number.</param>
/// <param name="Raised">The new level.</param>
public readonly record struct QtestInterrupt(int Line, bool Raised);

/// <summary>QEMU did not do what it was asked to, or is gone.</summary>
public sealed class QtestException : Exception
{
    /// <summary>Makes an exception.</summary>
    public QtestException()
    {
    }

    /// <summary>Makes an exception.</summary>
    public QtestException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception.</summary>
    public QtestException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
