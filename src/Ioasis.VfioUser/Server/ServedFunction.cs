using System.Net.Sockets;
using Ioasis.Devices;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.VfioUser;

/// <summary>A PCI function of a <see cref="ServedMachine"/>, on a socket of its own. One client at a time; the next waits until that one is gone.</summary>
public sealed class ServedFunction
{
    private readonly ServedMachineOptions _options;
    private readonly Lock _lock = new();
    private Socket? _listener;
    private Thread? _thread;
    private MessagePeer? _peer;
    private bool _ends;

    internal ServedFunction(PciDevice device, DeviceId id, string socketPath, int iommu, ServedMachineOptions options)
    {
        Device = device;
        Id = id;
        SocketPath = socketPath;
        Iommu = iommu;
        _options = options;
    }

    /// <summary>The model.</summary>
    public PciDevice Device { get; }

    /// <summary>Its place on the bus, with which its requests come to an IOMMU. The client must put it in the same place.</summary>
    public DeviceId Id { get; }

    /// <summary>Where its socket is.</summary>
    public string SocketPath { get; }

    /// <summary>Which of the machine's IOMMUs is before it, from 0, if there are any.</summary>
    public int Iommu { get; }

    /// <summary>Whether a client is connected.</summary>
    public bool IsConnected => Volatile.Read(ref _peer) is not null;

    internal ClientMemory Memory { get; } = new();

    /// <summary>Begins to listen.</summary>
    /// <exception cref="IOException">The socket cannot be made there.</exception>
    internal void Start()
    {
        _listener = UnixSockets.Listen(SocketPath);
        _thread = new(Run) { IsBackground = true, Name = $"vfio-user {Id}" };
        _thread.Start();
    }

    /// <summary>Ends the client's connection and listens no more. When it returns nobody is served.</summary>
    internal void Stop()
    {
        lock (_lock)
        {
            _ends = true;
            _peer?.Close();
        }

        _listener?.Dispose();
        _thread?.Join();
        if (_listener is not null)
        {
            File.Delete(SocketPath);
        }
    }

    private void Run()
    {
        while (!Volatile.Read(ref _ends))
        {
            try
            {
                Serve(_listener!.Accept());
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                if (!Volatile.Read(ref _ends))
                {
                    // No descriptor is left, say: others may close some.
                    _options.Logger.LogWarning("{Function}: a connection cannot be accepted: {Reason}", Id, e.Message);
                    Thread.Sleep(100);
                }
            }
        }
    }

    private void Serve(Socket socket)
    {
        using MessagePeer peer = new(new(socket));
        lock (_lock)
        {
            if (_ends)
            {
                return;
            }

            Volatile.Write(ref _peer, peer);
        }

        _options.Logger.LogInformation("{Function}: a client has come", Id);
        try
        {
            new FunctionSession(Id, Device.Backend, Memory, peer, _options).Run();
        }
#pragma warning disable CA1031 // A model that fails costs its own client and nobody else's.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _options.Logger.LogError(e, "{Function}: the model failed", Id);
        }

        Volatile.Write(ref _peer, null);
        if (peer.Fault is { } fault)
        {
            _options.Logger.LogWarning("{Function}: the client is cut off: {Fault}", Id, fault);
        }
        else
        {
            _options.Logger.LogInformation("{Function}: the client has gone", Id);
        }
    }
}
