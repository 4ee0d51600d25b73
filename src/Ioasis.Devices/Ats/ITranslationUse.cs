using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices;

/// <summary>Is told of each access that a device makes with a translation of its own cache. Thread-safe.</summary>
internal interface ITranslationUse
{
    /// <summary>An access begins.</summary>
    /// <returns>What <see cref="Used"/> wants to know; null if it need not be told.</returns>
    long? Begin();

    /// <summary>An access used a translation of the device's.</summary>
    /// <param name="request">The access, as it would be without translation.</param>
    /// <param name="reached">Where it goes.</param>
    /// <param name="begun">What <see cref="Begin"/> returned.</param>
    void Used(in DmaRequest request, PhysicalAddress reached, long begun);
}
