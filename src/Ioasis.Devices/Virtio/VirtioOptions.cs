using System.Numerics;

namespace Ioasis.Devices.Virtio;

/// <summary>How a virtio device is built, whatever its kind.</summary>
public record VirtioOptions
{
    /// <summary>Most entries of a queue: a power of two from 4 to 32768.</summary>
    public int QueueSize { get; init; } = 256;

    /// <summary>Vectors of MSI-X, 1 to 2048; 0 for one a queue and one for the configuration.</summary>
    public int Vectors { get; init; }

    /// <summary>Whether it offers packed rings beside split ones.</summary>
    public bool Packed { get; init; } = true;

    /// <summary>Whether it offers indirect descriptors.</summary>
    public bool Indirect { get; init; } = true;

    /// <summary>Whether it offers the event index.</summary>
    public bool EventIndex { get; init; } = true;

    /// <summary>Whether it offers to use buffers in their order.</summary>
    public bool InOrder { get; init; }

    /// <summary>Whether it offers notifications that carry data.</summary>
    public bool NotificationData { get; init; } = true;

    /// <summary>How it misbehaves; null for a device that behaves.</summary>
    public VirtioMisbehaviour? Misbehaviour { get; init; }

    /// <summary>The clock of what is late on request.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>The features that follow.</summary>
    internal VirtioFeatures Offered =>
        VirtioFeatures.Version1
        | VirtioFeatures.AccessPlatform
        | VirtioFeatures.OrderPlatform
        | VirtioFeatures.RingReset
        | (Packed ? VirtioFeatures.PackedRing : 0)
        | (Indirect ? VirtioFeatures.IndirectDescriptors : 0)
        | (EventIndex ? VirtioFeatures.EventIndex : 0)
        | (InOrder ? VirtioFeatures.InOrder : 0)
        | (NotificationData ? VirtioFeatures.NotificationData : 0);

    /// <summary>The keys of a text that says it.</summary>
    internal static IReadOnlyList<DeviceKey> Keys { get; } =
    [
        new("entries", "most entries of a queue, a power of two from 4 to 32768; 256 as is"),
        new("vectors", "vectors of MSI-X, 1 to 2048; one a queue and one more as is"),
        new("packed", "on or off: packed rings are offered; on as is"),
        new("indirect", "on or off: indirect descriptors are offered; on as is"),
        new("event-index", "on or off: the event index is offered; on as is"),
        new("in-order", "on or off: use of buffers in their order is offered; off as is"),
        new("notification-data", "on or off: notifications with data are offered; on as is"),
    ];

    /// <summary>Adds what a text says by <see cref="Keys"/>.</summary>
    /// <exception cref="DeviceSettingException">A value is not possible.</exception>
    internal static TOptions Read<TOptions>(DeviceSettings settings, TOptions options)
        where TOptions : VirtioOptions => (TOptions)(options with
        {
            QueueSize = (int)settings.Number("entries", options.QueueSize, 4, 32768),
            Vectors = (int)settings.Number("vectors", options.Vectors, 1, 2048),
            Packed = settings.Switch("packed", options.Packed),
            Indirect = settings.Switch("indirect", options.Indirect),
            EventIndex = settings.Switch("event-index", options.EventIndex),
            InOrder = settings.Switch("in-order", options.InOrder),
            NotificationData = settings.Switch("notification-data", options.NotificationData),
        });

    /// <summary>Checks it.</summary>
    /// <exception cref="DeviceSettingException">Something is not possible.</exception>
    internal void Check()
    {
        if (QueueSize is < 4 or > 32768 || !BitOperations.IsPow2(QueueSize))
        {
            throw DeviceSettings.Bad("entries", $"{QueueSize}", "a power of two from 4 to 32768 is expected");
        }

        if (Vectors is < 0 or > 2048)
        {
            throw DeviceSettings.Bad("vectors", $"{Vectors}", "1 to 2048 are possible");
        }
    }
}
